//! Sessions that move to another node, or to the next process.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{connect, member, post, trigger};
use crate::pusher::recovery::{OTHER_TOKEN, TOKEN, apps, say};
use crate::pusher::{Page, node, node_at};
use crate::support::line::{Flow, RedisLine};
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

/// A page on both kinds of channels, which has proven that it has read message 0, and somebody who watches it on another node.
fn page_and_watcher(one: &Server, two: &Server) -> (Page, Page) {
    let mut watcher = Page::open(two);
    watcher.enter("presence-h.1", 1);
    let mut page = Page::of_session(one, TOKEN);
    page.subscribe("private-h.1");
    page.enter("presence-h.1", 2);
    watcher.expect_added("presence-h.1", 2);
    say(one, "private-h.1", 0);
    page.expect("E", "private-h.1", &json!(0));
    page.prove(2);
    (page, watcher)
}

fn numbers(numbers: std::ops::RangeInclusive<i64>) -> Vec<Value> {
    numbers.map(Value::from).collect()
}

#[test]
fn a_page_goes_on_on_another_node() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (page, mut watcher) = page_and_watcher(&one, &two);
    let id = page.socket_id.clone();
    page.client.vanish();
    for number in 1..=10 {
        say(&one, "private-h.1", number);
    }
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("private-h.1", None), numbers(1..=10));
    assert_eq!(page.recover("presence-h.1", Some(&member(2))), [] as [Value; 0]);
    page.prove(2);
    // What excludes the page excludes it on its new node.
    trigger(&one, &["private-h.1"], "E", &json!(11), Some(&id));
    say(&one, "private-h.1", 12);
    page.expect("E", "private-h.1", &json!(12));
    // And back.
    page.client.vanish();
    say(&one, "private-h.1", 13);
    let mut page = Page::of_session(&one, TOKEN);
    assert_eq!(page.socket_id, id);
    let missed = page.recover("private-h.1", None);
    assert!(missed == numbers(13..=13) || missed == numbers(12..=13), "{missed:?}");
    page.recover("presence-h.1", Some(&member(2)));
    watcher.expect_quiet();
    page.client.leave_page();
    watcher.expect_removed("presence-h.1", 2);
}

#[test]
fn a_session_is_not_begun_anew_while_it_cannot_be_looked_up() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (page, _watcher) = page_and_watcher(&one, &two);
    let id = page.socket_id.clone();
    page.client.vanish();
    say(&one, "private-h.1", 1);
    redis.pause();
    let target = format!("/app/page~{TOKEN}?protocol=7&client=js&version=8.4.0&flash=false");
    // The second one has to wait for the first one.
    let mut refused = [connect(&two, &target), connect(&two, &target)];
    for refused in &mut refused {
        assert_eq!(refused.expect_close(), (4100, "unavailable, reconnect later".to_owned()));
    }
    redis.resume();
    eventually("the session can be looked up", || two.get_admin("/readyz").status == 200);
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("private-h.1", None), numbers(1..=1));
}

#[test]
fn nobody_begins_on_a_node_that_has_not_reached_redis() {
    let apps = apps("").replace("\"private-h.*\"", "\"private-h.*\", \"h.*\"");
    let server = Server::start(|options| {
        options.set("redis.url", "redis://127.0.0.1:1").config(&apps);
    });
    let subscribe = |path: &str, query: &str| {
        let target = format!("/app/{path}?protocol=7&client=js&version=8.4.0&flash=false{query}");
        let mut client = connect(&server, &target);
        assert_eq!(client.expect_json()["event"], "pusher:connection_established");
        client.send_json(&json!({ "event": "pusher:subscribe", "data": { "channel": "h.1" } }));
        client
    };
    // Elsewhere it would not be known what this page has missed.
    assert_eq!(
        subscribe("page", "&recovery=2").expect_close(),
        (4100, "unavailable, reconnect later".to_owned())
    );
    // Nothing is promised to this one.
    assert_eq!(subscribe("page", "").expect_json()["event"], "pusher_internal:subscription_succeeded");
}

#[test]
fn the_session_that_was_begun_last_counts_after_an_outage() {
    let redis = RedisServer::start();
    let link = RedisLine::start(&redis);
    let one = node_at(&link.url(), &apps(""));
    let two = node(&redis, &apps(""));
    let (page, _watcher) = page_and_watcher(&one, &two);
    let first = page.socket_id.clone();
    // The first node cannot write that its connection has ended, and the others do not know of its session.
    link.set(Flow::Down);
    page.client.vanish();
    eventually("the session is kept", || {
        one.log().iter().any(|line| line.to_string().contains("disconnected"))
    });
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:session:*").query(&mut client).unwrap();
    assert_eq!(redis::cmd("DEL").arg(&keys).query::<usize>(&mut client).unwrap(), 1);
    let mut page = Page::of_session(&two, TOKEN);
    let second = page.socket_id.clone();
    assert_ne!(second, first);
    page.subscribe("private-h.1");
    page.prove(1);
    link.set(Flow::Open);
    eventually("the first node is back", || one.get_admin("/readyz").status == 200);
    // Looked up after everything that the node had not written yet.
    let other = Page::of_session(&one, OTHER_TOKEN);
    page.client.vanish();
    let mut page = Page::of_session(&one, TOKEN);
    assert_eq!(page.socket_id, second);
    assert_eq!(page.recover("private-h.1", None), [] as [Value; 0]);
    drop(other);
}

#[test]
fn a_session_that_has_moved_on_is_not_resumed_while_redis_cannot_be_asked() {
    let redis = RedisServer::start();
    let link = RedisLine::start(&redis);
    let one = node_at(&link.url(), &apps(""));
    let two = node(&redis, &apps(""));
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let (page, _watcher) = page_and_watcher(&one, &two);
    let id = page.socket_id.clone();
    page.client.vanish();
    eventually("the end of the connection is written", || {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:session:*").query(&mut client).unwrap();
        let mut read = redis::cmd("HGET");
        let text: String = read.arg(&keys).arg("session").query(&mut client).unwrap();
        !text.contains("connected")
    });
    link.set(Flow::Down);
    // The first node cannot be asked, and does not learn that the session has left it.
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("private-h.1", None), [] as [Value; 0]);
    page.subscribe("private-h.2");
    page.prove(2);
    page.client.vanish();
    say(&two, "private-h.2", 1);
    let target = format!("/app/page~{TOKEN}?protocol=7&client=js&version=8.4.0&flash=false");
    assert_eq!(connect(&one, &target).expect_close(), (4100, "unavailable, reconnect later".to_owned()));
    link.set(Flow::Open);
    eventually("the first node is back", || one.get_admin("/readyz").status == 200);
    let signs: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:node:*").query(&mut client).unwrap();
    assert_eq!(redis::cmd("DEL").arg(&signs).query::<usize>(&mut client).unwrap(), 2);
    eventually("both nodes give signs of life", || {
        let signs: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:node:*").query(&mut client).unwrap();
        signs.len() == 2
    });
    let mut page = Page::of_session(&one, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("private-h.2", None), numbers(1..=1));
}

#[test]
fn a_page_of_a_node_that_was_killed_misses_nothing() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (page, mut watcher) = page_and_watcher(&one, &two);
    let id = page.socket_id.clone();
    one.signal(Signal::KILL);
    drop(page);
    for number in 1..=10 {
        say(&two, "private-h.1", number);
    }
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    let missed = page.recover("private-h.1", None);
    // Perhaps with what it had read shortly before.
    assert!(missed == numbers(1..=10) || missed == numbers(0..=10), "{missed:?}");
    page.recover("presence-h.1", Some(&member(2)));
    watcher.expect_quiet();
    // The members of the node go, but not the page.
    eventually("the node is lost", || two.log().iter().any(|line| line.to_string().contains("node lost")));
    say(&two, "presence-h.1", 7);
    watcher.expect("E", "presence-h.1", &json!(7));
    watcher.expect_quiet();
}

#[test]
fn the_documented_redis_permissions_are_enough_for_sessions() {
    let page = include_str!("../../../docs/deploy.md").replace("laravel_database_", "app-database-");
    let granted = |after: &str| {
        let (_, rest) = page.split_once(after).expect("the paragraph");
        rest.lines().find_map(|line| line.strip_prefix("    ")).expect("the permissions").to_owned()
    };
    let user = granted("keys only for what is listed below:");
    let user = user.strip_prefix("ACL SETUSER ").unwrap().replace(">…", ">pass");
    let histories = granted("Channels with a history and idempotency keys need");
    let sessions = granted("are kept for other nodes in keys as well:");
    let more = "+psubscribe &app-database-private-h.* &app-database-presence-h.*";
    let arguments = format!("--user {user} {histories} {sessions} {more}");
    let redis = RedisServer::start_with(&arguments.split_whitespace().collect::<Vec<_>>());
    let url = redis.url_as("yamabiko:pass");
    let (one, two) = (node_at(&url, &apps("")), node_at(&url, &apps("")));
    let (page, _watcher) = page_and_watcher(&one, &two);
    // Kept when its connection ends, ended by its node, and taken over without it.
    page.client.vanish();
    eventually("the session is kept", || one.metric("yamabiko_pusher_connections") == 0);
    say(&two, "private-h.1", 1);
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.recover("private-h.1", None), numbers(1..=1));
    two.signal(Signal::KILL);
    drop(page);
    say(&one, "private-h.1", 2);
    let mut page = Page::of_session(&one, TOKEN);
    assert!(page.recover("private-h.1", None).ends_with(&numbers(2..=2)));
    let denied =
        one.log().into_iter().find(|line| line.to_string().contains("denied by the Redis ACL: a page"));
    assert_eq!(denied, None);
}

#[test]
fn a_page_is_told_of_a_gap_on_a_channel_that_a_killed_node_had_not_written() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (page, _watcher) = page_and_watcher(&one, &two);
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:session:*").query(&mut client).unwrap();
    let mut unwrite = redis::cmd("HDEL");
    unwrite.arg(&keys).arg("channel:private-h.1");
    assert_eq!(unwrite.query::<usize>(&mut client).unwrap(), 1);
    one.signal(Signal::KILL);
    drop(page);
    say(&two, "private-h.1", 1);
    let mut page = Page::of_session(&two, TOKEN);
    page.ask("private-h.1", None);
    assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
    let (event, _, data) = page.next();
    assert_eq!((&*event, data), ("yamabiko:gap", json!({"channel": "private-h.1"})));
    // Where the session knows the channel, it can be proven.
    let missed = page.recover("presence-h.1", Some(&member(2)));
    assert_eq!(missed, [] as [Value; 0]);
}

#[test]
fn pages_of_a_node_that_shuts_down_stay_members_until_they_are_back() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (mut page, mut watcher) = page_and_watcher(&one, &two);
    // A page without a token goes at once.
    let mut plain = Page::open(&one);
    plain.enter("presence-h.1", 3);
    watcher.expect_added("presence-h.1", 3);
    page.expect_added("presence-h.1", 3);
    let id = page.socket_id.clone();
    one.signal(Signal::TERM);
    let mut closes = [page, plain].map(|mut page| {
        loop {
            if let Err(code) = page.client.text_or_close() {
                break code;
            }
        }
    });
    closes.sort_unstable();
    assert_eq!(closes, [4200, 4200]);
    watcher.expect_removed("presence-h.1", 3);
    assert!(one.wait(Duration::from_secs(30)).status.success());
    watcher.expect_quiet();
    say(&two, "private-h.1", 1);
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    let missed = page.recover("private-h.1", None);
    assert_eq!(missed, numbers(1..=1));
    page.recover("presence-h.1", Some(&member(2)));
    watcher.expect_quiet();
    page.client.leave_page();
}

#[test]
fn a_page_that_does_not_come_back_leaves_after_its_node() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let (page, mut watcher) = page_and_watcher(&one, &two);
    one.signal(Signal::TERM);
    drop(page);
    assert!(one.wait(Duration::from_secs(30)).status.success());
    watcher.expect_removed("presence-h.1", 2);
}

#[test]
fn a_page_goes_on_in_the_next_process() {
    let redis = RedisServer::start();
    for (signal, token) in [(Signal::TERM, TOKEN), (Signal::KILL, OTHER_TOKEN)] {
        let one = node(&redis, &apps(""));
        let mut page = Page::of_session(&one, token);
        let id = page.socket_id.clone();
        page.subscribe("private-h.1");
        say(&one, "private-h.1", 0);
        page.expect("E", "private-h.1", &json!(0));
        page.prove(1);
        one.signal(signal);
        while page.client.text_or_end().is_some() {}
        drop(one);
        let next = node(&redis, &apps(""));
        say(&next, "private-h.1", 1);
        let mut page = Page::of_session(&next, token);
        assert_eq!(page.socket_id, id);
        let missed = page.recover("private-h.1", None);
        assert_eq!(missed.last(), Some(&json!(1)), "{missed:?}");
        page.client.leave_page();
    }
}

#[test]
fn a_token_that_is_used_on_two_nodes_stays_with_the_page_that_answers() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let mut elder = Page::of_session(&one, TOKEN);
    elder.subscribe("private-h.1");
    let id = elder.socket_id.clone();
    let answering = std::thread::spawn(move || {
        while elder.client.expect_ping() != b"elder" {}
        elder
    });
    let newcomer = Page::of_session(&two, TOKEN);
    let elder = answering.join().unwrap();
    assert_ne!(newcomer.socket_id, id);
    // Now the elder is silent.
    let third = Page::of_session(&two, TOKEN);
    assert_eq!(third.socket_id, id);
    drop((newcomer, elder));
}

#[test]
fn terminating_a_user_deletes_its_sessions() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let mut page = Page::of_session(&one, OTHER_TOKEN);
    let id = page.socket_id.clone();
    page.sign_in(r#"{"id":"7"}"#);
    assert_eq!(page.next().0, "pusher:signin_success");
    page.client.vanish();
    eventually("it has gone", || one.metric("yamabiko_pusher_connections") == 0);
    assert_eq!(post(&two, "/apps/1/users/7/terminate_connections", &json!({})).status, 200);
    eventually("the session is deleted", || {
        let page = Page::of_session(&two, OTHER_TOKEN);
        let is_new = page.socket_id != id;
        page.client.leave_page();
        is_new
    });
}
