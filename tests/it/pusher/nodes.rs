//! Two nodes on one Redis.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{get, member, post, trigger};
use crate::pusher::{APPS, Page, node, node_at};
use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::{RedisServer, unread};
use crate::support::{Server, eventually};

/// How long the members of a node that was killed may stay.
const GONE_WITHIN: Duration = Duration::from_secs(30);

fn users(server: &Server, channel: &str) -> Value {
    get(server, &format!("/apps/1/channels/{channel}/users"), "").json()
}

fn expect_users(servers: &[&Server], channel: &str, ids: &[i64]) {
    let ids: Vec<Value> = ids.iter().map(|id| json!({ "id": id.to_string() })).collect();
    for server in servers {
        eventually("the nodes agree", || users(server, channel) == json!({ "users": ids }));
    }
}

#[test]
fn presence_members_are_shared_by_all_nodes() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let (mut a, mut b) = (Page::open(&one), Page::open(&two));
    assert_eq!(a.enter("presence-a", 1), [1]);
    assert_eq!(b.enter("presence-a", 2), [1, 2]);
    a.expect_added("presence-a", 2);
    let (mut tab, mut another) = (Page::open(&one), Page::open(&two));
    assert_eq!(tab.enter("presence-a", 2), [1, 2]);
    assert_eq!(another.enter("presence-a", 1), [1, 2]);
    b.client.close();
    a.expect_quiet();
    tab.client.vanish();
    a.expect_removed("presence-a", 2);
    another.expect_removed("presence-a", 2);
    another.expect_quiet();
    // A node that starts later learns the whole state.
    let three = node(&redis, APPS);
    expect_users(&[&one, &two, &three], "presence-a", &[1]);
    let mut late = Page::open(&three);
    assert_eq!(late.enter("presence-a", 3), [1, 3]);
    a.expect_added("presence-a", 3);
    eventually("all connections count", || {
        get(&two, "/apps/1/connections", "").json() == json!({ "connections": 3 })
    });
    // A node that shuts down announces it.
    three.signal(Signal::TERM);
    a.expect_removed("presence-a", 3);
    assert!(three.wait(Duration::from_secs(20)).status.success());
}

#[test]
fn events_caches_and_terminations_reach_all_nodes() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let (mut a, mut b) = (Page::open(&one), Page::open(&two));
    for page in [&mut a, &mut b] {
        page.subscribe("private-a");
    }
    trigger(&one, &["private-a"], "E", &json!(1), Some(&b.socket_id));
    a.expect("E", "private-a", &json!(1));
    trigger(&one, &["private-a", "cache-a"], "E", &json!(2), None);
    a.expect("E", "private-a", &json!(2));
    b.expect("E", "private-a", &json!(2));
    b.subscribe("cache-a");
    b.expect("E", "cache-a", &json!(2));
    let three = node(&redis, APPS);
    eventually("the newcomer has the cache", || {
        let mut page = Page::open(&three);
        page.subscribe("cache-a");
        page.next().0 == "E"
    });
    a.client.send_json(&json!({ "event": "client-x", "channel": "private-a", "data": 3 }));
    b.expect("client-x", "private-a", &json!(3));
    b.sign_in(r#"{"id":"7"}"#);
    assert_eq!(b.next().0, "pusher:signin_success");
    assert_eq!(post(&one, "/apps/1/users/7/terminate_connections", &json!({})).status, 200);
    assert_eq!(b.next().0, "pusher:error");
    assert_eq!(b.client.expect_close().0, 4009);
    a.expect_quiet();
}

#[test]
fn members_of_a_killed_node_are_removed() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let (mut a, mut b) = (Page::open(&one), Page::open(&two));
    let mut tab = Page::open(&two);
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    a.expect_added("presence-a", 2);
    tab.enter("presence-a", 1);
    b.subscribe("news");
    eventually("the channel is known", || {
        get(&one, "/apps/1/channels/news", "").json() == json!({ "occupied": true })
    });
    two.signal(Signal::KILL);
    let start = Instant::now();
    loop {
        // The only thing that comes; meanwhile the page keeps its connection.
        a.send("pusher:ping", json!({}));
        let (event, _, data) = a.next();
        if event == "pusher_internal:member_removed" {
            assert_eq!(data, json!({ "user_id": "2" }));
            break;
        }
        assert_eq!(event, "pusher:pong");
        assert!(start.elapsed() < GONE_WITHIN, "the members of a dead node are still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    expect_users(&[&one], "presence-a", &[1]);
    assert_eq!(get(&one, "/apps/1/channels/news", "").json(), json!({ "occupied": false }));
    assert_eq!(get(&one, "/apps/1/connections", "").json(), json!({ "connections": 1 }));
}

#[test]
fn nodes_agree_again_after_a_redis_outage() {
    let mut redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let (mut a, mut b, mut c) = (Page::open(&one), Page::open(&two), Page::open(&two));
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    a.expect_added("presence-a", 2);
    c.enter("presence-a", 3);
    a.expect_added("presence-a", 3);
    b.expect_added("presence-a", 3);
    for outage in ["pause", "restart"] {
        if outage == "pause" {
            redis.pause();
        } else {
            redis.kill();
        }
        eventually("the outage is noticed", || one.get_admin("/readyz").status == 503);
        // A public channel needs no other node; the list of a presence channel does.
        let mut newcomer = Page::open(&one);
        newcomer.subscribe("news");
        newcomer.ask("presence-a", Some(&member(4)));
        let (event, _, error) = newcomer.next();
        assert_eq!((event.as_str(), &error["status"]), ("pusher:subscription_error", &json!(503)));
        if outage == "pause" {
            c.client.close();
            std::thread::sleep(Duration::from_secs(8));
            redis.resume();
            c = Page::open(&two);
        } else {
            c.unsubscribe("presence-a");
            redis.restart();
        }
        for server in [&one, &two] {
            eventually("the node is back", || server.get_admin("/readyz").status == 200);
        }
        for page in [&mut a, &mut b] {
            page.expect_removed("presence-a", 3);
        }
        expect_users(&[&one, &two], "presence-a", &[1, 2]);
        for server in [&one, &two] {
            eventually("counts are sent after the outage", || {
                get(server, "/apps/1/channels/news", "").json() == json!({ "occupied": true })
            });
        }
        assert_eq!(newcomer.enter("presence-a", 4), [1, 2, 4]);
        for page in [&mut a, &mut b] {
            page.expect_added("presence-a", 4);
        }
        drop(newcomer);
        for page in [&mut a, &mut b] {
            page.expect_removed("presence-a", 4);
        }
        assert_eq!(c.enter("presence-a", 3), [1, 2, 3]);
        for page in [&mut a, &mut b] {
            page.expect_added("presence-a", 3);
            page.expect_quiet();
        }
    }
}

#[test]
fn a_large_snapshot_is_sent_in_parts() {
    const PAGES: usize = 4;
    const CHANNELS: usize = 1000;
    let apps = format!("limits.messages_per_second = 0\n{APPS}");
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps), node(&redis, &apps));
    let info = "山".repeat(200);
    let mut pages: Vec<Page> = (0..PAGES).map(|_| Page::open(&one)).collect();
    for (number, page) in pages.iter_mut().enumerate() {
        let data = json!({ "user_id": number, "user_info": { "name": info } }).to_string();
        let names: Vec<String> =
            (0..CHANNELS).map(|channel| format!("presence-{number}-{channel}")).collect();
        for names in names.chunks(100) {
            for name in names {
                page.ask(name, Some(&data));
            }
            for _ in names {
                assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
            }
        }
    }
    // Records everything that the nodes send to each other.
    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut signals = connection.as_pubsub();
    signals.subscribe("app-database-yamabiko").unwrap();
    let three = node(&redis, &apps);
    let listed = |server: &Server| {
        let channels = get(server, "/apps/1/channels", "").json();
        channels["channels"].as_object().map_or(0, serde_json::Map::len)
    };
    for server in [&one, &two, &three] {
        eventually("the nodes agree", || listed(server) == PAGES * CHANNELS);
    }
    expect_users(&[&one, &two, &three], "presence-3-999", &[3]);
    let (mut parts, mut bytes) = (0, 0);
    while let Ok(signal) = signals.get_message() {
        let signal = signal.get_payload_bytes();
        assert!(signal.len() < 400 * 1024, "a signal of {} bytes", signal.len());
        let signal_json: Value = serde_json::from_slice(signal).unwrap();
        let part = &signal_json["body"]["message"]["snapshot_part"];
        if let Some(index) = part["index"].as_u64() {
            parts += 1;
            bytes += signal.len();
            if Some(index + 1) == part["of"].as_u64() {
                break;
            }
        }
    }
    assert!(parts > 8 && bytes > PAGES * CHANNELS * info.len(), "{parts} parts of {bytes} bytes");
    // Members that arrived in parts leave like all others.
    pages.truncate(1);
    for server in [&one, &two, &three] {
        eventually("those that are gone are gone", || listed(server) == CHANNELS);
    }
}

#[test]
fn a_node_cut_off_alone_catches_up() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = RedisServer::start();
    let proxy = runtime.block_on(Proxy::start(redis.port()));
    let (one, two) = (node(&redis, APPS), node_at(&proxy.url(), APPS));
    let (mut gone, mut stays, mut cut) = (Page::open(&one), Page::open(&one), Page::open(&two));
    assert_eq!(gone.enter("presence-a", 1), [1]);
    stays.enter("presence-a", 2);
    cut.enter("presence-a", 3);
    trigger(&one, &["cache-a"], "E", &json!("before"), None);
    expect_users(&[&one, &two], "presence-a", &[1, 2, 3]);
    proxy.set(Traffic::Cut);
    eventually("the cut is noticed", || two.get_admin("/readyz").status == 503);
    // Nothing changes on the node that is cut off, so it has nothing of its own to announce.
    gone.client.close();
    let mut late = Page::open(&one);
    assert_eq!(late.enter("presence-a", 4), [2, 3, 4]);
    trigger(&one, &["cache-a"], "E", &json!("meanwhile"), None);
    proxy.set(Traffic::Open);
    eventually("the node is back", || two.get_admin("/readyz").status == 200);
    let mut seen = [cut.next(), cut.next()].map(|(event, _, data)| (event, data["user_id"].clone()));
    seen.sort_by_key(|(event, _)| event.clone());
    let expected = [("pusher_internal:member_added", "4"), ("pusher_internal:member_removed", "1")];
    assert_eq!(seen, expected.map(|(event, user)| (event.to_owned(), json!(user))));
    expect_users(&[&one, &two], "presence-a", &[2, 3, 4]);
    eventually("the cache is that of the others", || {
        let mut page = Page::open(&two);
        page.subscribe("cache-a");
        page.next() == ("E".into(), "cache-a".into(), json!("meanwhile"))
    });
    cut.expect_quiet();
}

fn expect_cached(servers: &[&Server], channel: &str, data: &Value) {
    for server in servers {
        eventually("the cache is that of the others", || {
            let mut page = Page::open(server);
            page.subscribe(channel);
            page.next() == ("E".into(), channel.into(), data.clone())
        });
    }
}

#[test]
fn a_node_that_replaces_a_killed_one_receives_the_cache() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    trigger(&one, &["cache-a"], "E", &json!(1), None);
    expect_cached(&[&one, &two], "cache-a", &json!(1));
    // The oldest one; for the others it is still there.
    one.signal(Signal::KILL);
    let three = node(&redis, APPS);
    expect_cached(&[&three, &two], "cache-a", &json!(1));
}

#[test]
fn the_two_oldest_nodes_cut_off_together_catch_up() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = RedisServer::start();
    let proxy = runtime.block_on(Proxy::start(redis.port()));
    let (one, two) = (node_at(&proxy.url(), APPS), node_at(&proxy.url(), APPS));
    let three = node(&redis, APPS);
    trigger(&one, &["cache-a"], "E", &json!("before"), None);
    expect_cached(&[&one, &two, &three], "cache-a", &json!("before"));
    for round in 0..3 {
        proxy.set(Traffic::Cut);
        for server in [&one, &two] {
            eventually("the cut is noticed", || server.get_admin("/readyz").status == 503);
        }
        trigger(&three, &["cache-a"], "E", &json!(round), None);
        proxy.set(Traffic::Open);
        for server in [&one, &two] {
            eventually("the node is back", || server.get_admin("/readyz").status == 200);
        }
        expect_cached(&[&one, &two, &three], "cache-a", &json!(round));
    }
}

#[test]
fn a_stopped_node_that_lost_redis_catches_up() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = RedisServer::start();
    let proxy = runtime.block_on(Proxy::start(redis.port()));
    let (one, two) = (node(&redis, APPS), node_at(&proxy.url(), APPS));
    for round in 0..3 {
        two.signal(Signal::STOP);
        // This one lies in its socket, unread, and is read when the next one is everywhere else.
        let old = "o".repeat(5_000);
        trigger(&one, &["cache-a"], "E", &json!(old), None);
        eventually("it lies in the socket", || unread(|of| of.remote == proxy.port()) > old.len());
        proxy.set(Traffic::Cut);
        trigger(&one, &["cache-a"], "E", &json!(round), None);
        expect_cached(&[&one], "cache-a", &json!(round));
        proxy.set(Traffic::Open);
        two.signal(Signal::CONT);
        expect_cached(&[&one, &two], "cache-a", &json!(round));
    }
}

/// Reads until the page receives the subscription count of a channel.
fn expect_counted(page: &mut Page, channel: &str) {
    loop {
        let (event, of, _) = page.next();
        if event == "pusher_internal:subscription_count" && of == channel {
            return;
        }
    }
}

#[test]
fn every_new_subscriber_receives_the_subscription_count() {
    let apps = APPS.replacen("client_events", "subscription_count = true\nclient_events", 1);
    let mut redis = RedisServer::start();
    let server = node(&redis, &format!("limits.messages_per_second = 0\n{apps}"));
    let (mut leaver, mut newcomer) = (Page::open(&server), Page::open(&server));
    for round in 0..100 {
        let channel = format!("c{round}");
        leaver.ask(&channel, None);
        expect_counted(&mut leaver, &channel);
        newcomer.ask(&channel, None);
        leaver.unsubscribe(&channel);
        expect_counted(&mut newcomer, &channel);
    }
    redis.kill();
    eventually("the outage is noticed", || server.get_admin("/readyz").status == 503);
    for page in [&mut leaver, &mut newcomer] {
        page.ask("news", None);
        expect_counted(page, "news");
    }
}
