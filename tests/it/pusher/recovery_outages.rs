//! Sessions of pages whose node cannot reach Redis for a while.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{connect, data, deliver, member};
use crate::pusher::recovery::{OTHER_TOKEN, TOKEN, apps, say};
use crate::pusher::{Page, node, node_at};
use crate::support::eventually;
use crate::support::line::{Flow, RedisLine};
use crate::support::redis::RedisServer;

fn target(token: &str) -> String {
    format!("/app/page~{token}?protocol=7&client=js&version=8.4.0&flash=false")
}

fn only_key(client: &mut redis::Connection, pattern: &str) -> String {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(client).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    key.clone()
}

#[test]
fn sessions_are_found_again_after_an_outage_while_pages_keep_coming() {
    let mut redis = RedisServer::start();
    let node = node(&redis, &apps(""));
    let _page = Page::of_session(&node, TOKEN);
    redis.kill();
    assert_eq!(connect(&node, &target(OTHER_TOKEN)).expect_close().0, 4100);
    std::thread::scope(|scope| {
        let coming = scope.spawn(|| {
            let is_served = || connect(&node, &target(OTHER_TOKEN)).text_or_close().is_ok();
            eventually("a page is served", is_served);
        });
        redis.restart();
        coming.join().unwrap();
    });
}

#[test]
fn what_redis_refuses_to_keep_of_a_session_is_logged() {
    let redis = RedisServer::start();
    let node = node(&redis, &apps(""));
    let _page = Page::of_session(&node, TOKEN);
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let signs = |client: &mut redis::Connection| -> Vec<String> {
        redis::cmd("KEYS").arg("*yamabiko:node:*").query(client).unwrap()
    };
    eventually("there is a sign of life", || !signs(&mut client).is_empty());
    // The script expects a hash there.
    redis::cmd("SET").arg(&signs(&mut client)[0]).arg("text").exec(&mut client).unwrap();
    let line =
        node.expect_log(|line| line["message"] == "cannot keep sessions in Redis" && line["level"] == "WARN");
    assert!(line["error"].as_str().unwrap().starts_with("Redis refused a session"), "{line}");
}

#[test]
fn a_session_is_resumed_only_if_the_other_nodes_know_of_it() {
    let redis = RedisServer::start();
    let (one, three) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let link = RedisLine::start(&redis);
    let two = node_at(&link.url(), &apps(""));
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut page = Page::of_session(&one, TOKEN);
    let id = page.socket_id.clone();
    page.subscribe("private-h.1");
    page.prove(1);
    page.client.vanish();
    let session = only_key(&mut client, "*yamabiko:session:*");
    eventually("the end of the connection is written", || {
        let text: String = redis::cmd("HGET").arg(&session).arg("session").query(&mut client).unwrap();
        !text.contains("connected")
    });
    // The node seems to be alive, and does not answer.
    let sign = only_key(&mut client, "*yamabiko:node:*");
    one.signal(Signal::KILL);
    one.wait(Duration::from_secs(30));
    let hour = 3_600_000;
    assert!(redis::cmd("PEXPIRE").arg(&sign).arg(hour).query::<bool>(&mut client).unwrap());

    let mut signals = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut signals = signals.as_pubsub();
    signals.subscribe("app-database-yamabiko").unwrap();
    let mut meanwhile = |change: &mut dyn FnMut()| {
        let mut page = connect(&two, &target(TOKEN));
        while !signals.get_message().unwrap().get_payload::<String>().unwrap().contains("session_claim") {}
        change();
        assert_eq!(page.expect_close(), (4100, "unavailable, reconnect later".to_owned()));
    };
    // Another node has claimed it.
    meanwhile(&mut || {
        let mut claim = redis::cmd("HINCRBY");
        claim.arg(&session).arg("claimed_at").arg(1).query::<u64>(&mut client).unwrap();
    });
    // Redis cannot be told.
    meanwhile(&mut || link.set(Flow::Down));

    redis::cmd("DEL").arg(&sign).query::<usize>(&mut client).unwrap();
    say(&three, "private-h.1", 1);
    let mut page = Page::of_session(&three, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("private-h.1", None), [json!(1)]);
    // It has not been on this channel anywhere.
    page.subscribe("private-h.2");
    page.expect_quiet();
}

#[test]
fn a_page_that_subscribed_during_an_outage_is_told_of_a_gap_on_another_node() {
    let redis = RedisServer::start();
    let two = node(&redis, &apps(""));
    let link = RedisLine::start(&redis);
    let one = node_at(&link.url(), &apps(""));
    let mut page = Page::of_session(&one, TOKEN);
    let id = page.socket_id.clone();
    page.enter("presence-h.1", 2);
    page.subscribe("private-h.2");
    page.prove(2);
    // These have not subscribed to anything before.
    let mut first = Page::of_session(&one, OTHER_TOKEN);
    let other_id = first.socket_id.clone();
    let with_plugin = format!("page~{}", OTHER_TOKEN.replace('0', "1"));
    let mut plugin = Page::at(&one, &with_plugin, "&recovery=2");
    let plugin_id = plugin.socket_id.clone();
    link.set(Flow::Down);
    eventually("the node has lost Redis", || one.get_admin("/readyz").status != 200);
    page.subscribe("private-h.1");
    page.unsubscribe("private-h.2");
    page.expect_quiet();
    first.subscribe("private-h.1");
    plugin.ask_since("private-h.1", None);
    let succeeded = plugin.client.expect_json();
    assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded");
    let position = succeeded["id"].as_str().unwrap().to_owned();
    for page in [page, first, plugin] {
        page.client.vanish();
    }
    for channel in ["private-h.1", "private-h.2", "presence-h.1"] {
        say(&two, channel, 1);
    }
    let expect_gap = |page: &mut Page| {
        page.ask("private-h.1", None);
        assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
        let (event, _, data) = page.next();
        assert_eq!((&*event, data), ("yamabiko:gap", json!({"channel": "private-h.1"})));
    };
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, id);
    expect_gap(&mut page);
    // What it subscribed to before is known, and what it has left stays away unless it asks for it.
    assert_eq!(page.recover("presence-h.1", Some(&member(2))), [json!(1)]);
    page.expect_quiet();
    let mut first = Page::of_session(&two, OTHER_TOKEN);
    assert_eq!(first.socket_id, other_id);
    expect_gap(&mut first);
    // The plugin knows its position itself.
    let mut plugin = Page::at(&two, &with_plugin, "&recovery=2");
    assert_eq!(plugin.socket_id, plugin_id);
    plugin.ask_since("private-h.1", Some(&position));
    assert_eq!(plugin.client.expect_json()["event"], "pusher_internal:subscription_succeeded");
    let recovered = plugin.client.expect_json();
    assert_eq!(
        (&recovered["event"], data(&recovered)["count"].clone()),
        (&json!("yamabiko:recovered"), json!(1))
    );
    assert_eq!(data(&plugin.client.expect_json()), Value::from(1));
}

#[test]
fn a_page_that_had_no_channels_begins_anew() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let page = Page::of_session(&one, TOKEN);
    // Its node has not noticed that it is gone.
    let mut next = Page::of_session(&two, TOKEN);
    assert_ne!(next.socket_id, page.socket_id);
    say(&two, "private-h.1", 1);
    deliver(&two);
    next.subscribe("private-h.1");
    next.expect_quiet();
}

fn expect_gap(page: &mut Page) {
    page.ask("private-h.1", None);
    assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
    page.expect("yamabiko:gap", "private-h.1", &json!({"channel": "private-h.1"}));
}

#[test]
fn sessions_are_written_again_after_redis_has_lost_its_data() {
    let mut redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let [mut connected, away] = [TOKEN, OTHER_TOKEN].map(|token| {
        let mut page = Page::of_session(&one, token);
        page.subscribe("private-h.1");
        page.prove(1);
        page
    });
    let ids = [&connected, &away].map(|page| page.socket_id.clone());
    away.client.vanish();
    eventually("it is away", || one.metric("yamabiko_pusher_connections") == 1);
    redis.restart();
    connected.expect("yamabiko:gap", "private-h.1", &json!({"channel": "private-h.1"}));
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    eventually("both are written again", || {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:session:*").query(&mut client).unwrap();
        keys.len() == 2
    });
    one.signal(Signal::KILL);
    drop(connected);
    eventually("the other node is back", || two.get_admin("/readyz").status == 200);
    say(&two, "private-h.1", 1);
    for (token, id) in [TOKEN, OTHER_TOKEN].into_iter().zip(ids) {
        let mut page = Page::of_session(&two, token);
        assert_eq!(page.socket_id, id);
        expect_gap(&mut page);
    }
}

#[test]
fn a_page_whose_session_was_lost_with_redis_is_told_of_a_gap() {
    let mut redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    let mut page = Page::of_session(&one, TOKEN);
    let lost = page.socket_id.clone();
    page.subscribe("private-h.1");
    page.prove(1);
    redis.kill();
    one.signal(Signal::KILL);
    drop(page);
    redis.restart();
    eventually("the other node is back", || two.get_admin("/readyz").status == 200);
    say(&two, "private-h.1", 1);
    let mut page = Page::of_session(&two, TOKEN);
    assert_ne!(page.socket_id, lost);
    expect_gap(&mut page);
    // It has its session from here on.
    let begun = page.socket_id.clone();
    page.prove(1);
    page.client.vanish();
    say(&two, "private-h.1", 2);
    let mut page = Page::of_session(&two, TOKEN);
    assert_eq!(page.socket_id, begun);
    assert_eq!(page.recover("private-h.1", None), [json!(2)]);
}

#[test]
fn sessions_that_wait_for_redis_are_written_even_if_it_takes_long() {
    let redis = RedisServer::start();
    let link = RedisLine::start(&redis);
    let mut settings = apps("[limits]\nmessages_per_second = 100000\nburst = 100000\n");
    settings.push_str("\n[redis]\npublish_timeout = \"4s\"\n");
    let node = node_at(&link.url(), &settings);
    // The node stays subscribed to the channel.
    let mut other = Page::open(&node);
    other.subscribe("private-h.1");
    let mut page = Page::of_session(&node, TOKEN);
    page.subscribe("private-h.1");
    page.prove(1);
    link.set(Flow::Down);
    eventually("the node has lost Redis", || node.get_admin("/readyz").status != 200);
    // The replies to all of this take twice as long as Redis may take to answer.
    for _ in 0..60 {
        for _ in 0..100 {
            page.unsubscribe("private-h.1");
            page.ask("private-h.1", None);
        }
        for _ in 0..100 {
            assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
        }
    }
    page.subscribe("private-h.2");
    link.set(Flow::Dripping(100));
    // A page does not wait for all that.
    let is_served = || connect(&node, &target(OTHER_TOKEN)).text_or_close().is_ok();
    eventually("a page is served", is_served);
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    eventually("everything is written", || {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*yamabiko:session:*").query(&mut client).unwrap();
        keys.iter()
            .any(|key| redis::cmd("HEXISTS").arg(key).arg("channel:private-h.2").query(&mut client).unwrap())
    });
}
