//! What Laravel publishes without a number is stored exactly once and in order: real processes on a real Redis.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use redis::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{Page, SECRET, deliver};
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, claims, eventually};

pub(super) const PREFIX: &str = "app-database-";

/// Native channels of the kind `feed` have a history, and some of the first app's.
pub(super) const SETTINGS: &str = r#"
limits.messages_per_second = 0

[channels.feed]
history = { messages = 100000, age = "10m" }

[channels.chat]
history = { messages = 100000, age = "10m" }

[channels.other]

[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"

[[apps.history]]
channels = ["private-orders.*", "news", "cache-*"]
messages = 100000
age = "10m"

[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
"#;

pub(super) fn node(redis: &RedisServer) -> Server {
    node_at(&redis.url())
}

fn node_at(redis: &str) -> Server {
    let server = Server::start(|options| {
        options.set("redis.url", redis).set("redis.prefix", PREFIX).config(SETTINGS);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

pub(super) fn application(redis: &RedisServer) -> Connection {
    redis::Client::open(redis.url()).unwrap().get_connection().unwrap()
}

/// A node that stores at once, and others that have a complete view.
pub(super) fn nodes(redis: &RedisServer, others: usize) -> (Server, Vec<Server>) {
    let mut markers = application(redis);
    let mut markers = markers.as_pubsub();
    markers.subscribe(format!("{PREFIX}broadcast")).unwrap();
    let mut await_marker = |leads: bool| loop {
        let payload: String = markers.get_message().unwrap().get_payload().unwrap();
        if serde_json::from_str::<Value>(&payload).unwrap()["leads"] == leads {
            return;
        }
    };
    let leader = node(redis);
    await_marker(true);
    let others = (0..others)
        .map(|_| {
            let node = node(redis);
            await_marker(false);
            // The node that leads answers every other one.
            await_marker(true);
            node
        })
        .collect();
    (leader, others)
}

pub(super) fn publish(application: &mut Connection, channel: &str, number: usize) {
    let payload = json!({ "channel": channel, "data": { "n": number } }).to_string();
    publish_raw(application, "broadcast", &payload);
}

pub(super) fn publish_raw(application: &mut Connection, topic: &str, payload: &str) {
    let topic = format!("{PREFIX}{topic}");
    let _: i64 = redis::cmd("PUBLISH").arg(topic).arg(payload).query(application).unwrap();
}

pub(super) fn publish_event(application: &mut Connection, channel: &str, data: &Value, socket: Option<&str>) {
    let payload = json!({ "event": "E", "data": data, "socket": socket }).to_string();
    publish_raw(application, channel, &payload);
}

/// The payloads in the history of a channel; `channel` is `app/name`.
pub(super) fn history(application: &mut Connection, channel: &str) -> Vec<Value> {
    let key = format!("{PREFIX}yamabiko:history:{channel}");
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(application).unwrap();
    let messages = |(_, fields): &(String, Vec<(String, String)>)| {
        let payload: Value = serde_json::from_str(&fields[0].1).unwrap();
        // Several messages may be one entry.
        payload["run"].as_array().cloned().unwrap_or_else(|| vec![payload])
    };
    entries.iter().flat_map(messages).collect()
}

/// The numbers in the history of a native channel.
pub(super) fn numbers(application: &mut Connection, channel: &str) -> Vec<usize> {
    let of = |payload: &Value| usize::try_from(payload["data"]["n"].as_u64().unwrap()).unwrap();
    history(application, &format!("/{channel}")).iter().map(of).collect()
}

/// The numbers in the history of a channel of the first app.
pub(super) fn app_numbers(application: &mut Connection, channel: &str) -> Vec<Value> {
    let of = |payload: &Value| {
        let data = payload["body"]["message"]["event"]["data"].as_str().unwrap();
        serde_json::from_str(data).unwrap()
    };
    history(application, &format!("1/{channel}")).iter().map(of).collect()
}

pub(super) fn expect_numbers(application: &mut Connection, channel: &str, count: usize) {
    eventually("all messages are stored", || numbers(application, channel).len() >= count);
    assert_eq!(numbers(application, channel), (0..count).collect::<Vec<_>>());
}

pub(super) fn client(server: &Server, channel: &str) -> Client {
    Client::connect(server, &claims(7, "Aoi", channel)).expect("the token is good")
}

pub(super) fn expect_received(client: &mut Client, count: usize) {
    for number in 0..count {
        assert_eq!(client.expect_json()["data"]["n"], number);
    }
}

#[test]
fn a_plain_message_is_stored_and_delivered_once_on_every_node() {
    let redis = RedisServer::start();
    let (leader, others) = nodes(&redis, 2);
    let mut laravel = application(&redis);
    let mut clients: Vec<Client> =
        [&leader].into_iter().chain(&others).map(|server| client(server, "feed:a")).collect();
    for number in 0..300 {
        publish(&mut laravel, "feed:a", number);
    }
    for client in &mut clients {
        expect_received(client, 300);
    }
    expect_numbers(&mut laravel, "feed:a", 300);
    publish(&mut laravel, "feed:a", 300);
    for client in &mut clients {
        assert_eq!(client.expect_json()["data"]["n"], 300);
    }
    // Equal texts are different messages.
    for _ in 0..5 {
        publish(&mut laravel, "feed:equal", 7);
    }
    eventually("all are stored", || numbers(&mut laravel, "feed:equal").len() >= 5);
    publish(&mut laravel, "feed:equal", 8);
    eventually("the last one is stored", || numbers(&mut laravel, "feed:equal").contains(&8));
    assert_eq!(numbers(&mut laravel, "feed:equal"), [7, 7, 7, 7, 7, 8]);
}

#[test]
fn a_single_node_stores_what_is_published_as_soon_as_it_is_ready() {
    let redis = RedisServer::start();
    let mut laravel = application(&redis);
    let server = node(&redis);
    let mut aoi = client(&server, "feed:a");
    for number in 0..100 {
        publish(&mut laravel, "feed:a", number);
    }
    expect_received(&mut aoi, 100);
    expect_numbers(&mut laravel, "feed:a", 100);
}

#[test]
fn a_message_that_a_lost_store_has_numbered_is_dropped() {
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut application = application(&redis);
    let mut client = client(&server, "feed:a");
    publish(&mut application, "feed:a", 0);
    expect_received(&mut client, 1);
    let late = r#"{"channel":"feed:a","data":{"n":7},"stored":"abc 9 1700000000000 0:ab-3:0"}"#;
    publish_raw(&mut application, "broadcast", late);
    eventually("it is dropped", || {
        server.metric(r#"yamabiko_broker_dropped_total{reason="lost_store"}"#) == 1
    });
    publish(&mut application, "feed:a", 1);
    assert_eq!(client.expect_json()["data"]["n"], 1);
}

#[test]
fn channels_without_a_history_are_delivered_directly() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let mut aoi = client(&leader, "other:a");
    // While nothing can be stored.
    let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).query(&mut laravel).unwrap();
    publish(&mut laravel, "other:a", 0);
    expect_received(&mut aoi, 1);
    assert!(history(&mut laravel, "/other:a").is_empty());
}

#[test]
fn what_redis_refuses_for_a_while_is_stored_afterwards() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let mut aoi = client(&leader, "feed:a");
    let memory = |laravel: &mut Connection, bytes: usize| {
        let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query(laravel).unwrap();
    };
    memory(&mut laravel, 1);
    for number in 0..20 {
        publish(&mut laravel, "feed:a", number);
    }
    leader.expect_log(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("Redis does not store messages"))
    });
    memory(&mut laravel, 0);
    expect_received(&mut aoi, 20);
    expect_numbers(&mut laravel, "feed:a", 20);
}

/// Publishes on a native channel and on a channel of an app while something happens to the node that stores at once. Every
/// message must be there once and in order, and reach the clients of the other nodes once and in order.
fn publish_while<Kept>(count: usize, happens: impl FnOnce(Server, &RedisServer) -> Kept) {
    let redis = RedisServer::start();
    let (leader, others) = nodes(&redis, 2);
    let mut clients: Vec<Client> = others.iter().map(|server| client(server, "feed:a")).collect();
    let mut page = Page::open(&others[0]);
    page.subscribe("private-orders.1");
    let mut laravel = application(&redis);
    let publisher = thread::spawn(move || {
        for number in 0..count {
            publish(&mut laravel, "feed:a", number);
            publish_event(&mut laravel, "private-orders.1", &json!(number), None);
            thread::sleep(Duration::from_millis(1));
        }
        laravel
    });
    let mut watcher = application(&redis);
    eventually("the middle", || numbers(&mut watcher, "feed:a").len() > count / 3);
    let _kept = happens(leader, &redis);
    let mut laravel = publisher.join().unwrap();
    expect_numbers(&mut laravel, "feed:a", count);
    eventually("all events are stored", || app_numbers(&mut laravel, "private-orders.1").len() >= count);
    let expected: Vec<Value> = (0..count).map(|number| json!(number)).collect();
    assert_eq!(app_numbers(&mut laravel, "private-orders.1"), expected);
    publish(&mut laravel, "feed:a", count);
    for client in &mut clients {
        // The last one follows at once: nothing else came between.
        expect_received(client, count + 1);
    }
    for number in expected {
        page.expect("E", "private-orders.1", &number);
    }
    page.expect_quiet();
}

#[test]
fn nothing_is_lost_or_doubled_when_the_node_that_stores_is_killed() {
    publish_while(1500, |leader, _| {
        leader.signal(Signal::KILL);
        drop(leader);
    });
}

#[test]
fn nothing_is_lost_or_doubled_when_the_node_that_stores_is_frozen() {
    publish_while(1500, |leader, redis| {
        leader.signal(Signal::STOP);
        let mut watcher = application(redis);
        let before = numbers(&mut watcher, "feed:a").len();
        eventually("others store", || numbers(&mut watcher, "feed:a").len() > before + 100);
        leader.signal(Signal::CONT);
        eventually("it goes on", || leader.get_admin("/readyz").status == 200);
    });
}

#[test]
fn nothing_is_lost_or_doubled_when_the_node_that_stores_stops() {
    publish_while(1500, |leader, _| {
        leader.signal(Signal::TERM);
        drop(leader.wait(Duration::from_secs(30)));
    });
}

#[test]
fn nothing_is_lost_or_doubled_when_connections_are_cut() {
    publish_while(1500, |leader, redis| {
        let mut laravel = application(redis);
        // Of the node that stores: the others are subscribed, so that each message reaches one of them.
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut laravel).unwrap();
        let of_leader = leader_connections(&clients, &leader);
        assert!(!of_leader.is_empty(), "{clients}");
        for id in of_leader {
            let _: i64 = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(&mut laravel).unwrap();
        }
        eventually("it goes on", || leader.get_admin("/readyz").status == 200);
        leader
    });
}

/// The IDs of a process's connections, in the list of Redis's clients.
fn leader_connections(clients: &str, server: &Server) -> Vec<u64> {
    let value = |line: &str, key: &str| {
        line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned()
    };
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports: Vec<String> = table
        .lines()
        .skip(1)
        .filter_map(|row| {
            let columns: Vec<&str> = row.split_whitespace().collect();
            let port = u16::from_str_radix(columns[1].split_once(':')?.1, 16).ok()?;
            sockets.contains(&columns[9].to_owned()).then(|| port.to_string())
        })
        .collect();
    clients
        .lines()
        .filter(|line| ports.iter().any(|port| value(line, "addr").ends_with(&format!(":{port}"))))
        .map(|line| value(line, "id").parse().unwrap())
        .collect()
}

#[test]
fn after_a_restart_of_redis_messages_are_stored_once_again() {
    for arguments in [&["--appendonly", "yes", "--appendfsync", "always"][..], &[]] {
        let mut redis = RedisServer::start_with(arguments);
        let (leader, others) = nodes(&redis, 1);
        let mut laravel = application(&redis);
        for number in 0..50 {
            publish(&mut laravel, "feed:a", number);
        }
        expect_numbers(&mut laravel, "feed:a", 50);
        redis.kill();
        redis.restart();
        for server in [&leader, &others[0]] {
            eventually("the node is back", || server.get_admin("/readyz").status == 200);
        }
        let mut laravel = application(&redis);
        // Until each of them has a complete view.
        eventually("messages are stored", || {
            publish(&mut laravel, "feed:probe", 0);
            !history(&mut laravel, "/feed:probe").is_empty()
        });
        let kept = numbers(&mut laravel, "feed:a").len();
        assert_eq!(kept, if arguments.is_empty() { 0 } else { 50 });
        for number in 50..150 {
            publish(&mut laravel, "feed:a", number);
        }
        eventually("all are stored", || numbers(&mut laravel, "feed:a").len() >= kept + 100);
        let expected: Vec<usize> = (50 - kept..150).collect();
        assert_eq!(numbers(&mut laravel, "feed:a"), expected);
    }
}

#[test]
fn events_of_the_redis_broadcaster_are_stored_without_a_subscriber() {
    let redis = RedisServer::start();
    let (leader, others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    for number in 0..20 {
        publish_event(&mut laravel, "private-orders.1", &json!(number), None);
        publish_event(&mut laravel, "news", &json!(number), None);
        publish_event(&mut laravel, "elsewhere", &json!(number), None);
    }
    let expected: Vec<Value> = (0..20).map(|number| json!(number)).collect();
    for channel in ["private-orders.1", "news"] {
        eventually("all are stored", || app_numbers(&mut laravel, channel).len() >= 20);
        assert_eq!(app_numbers(&mut laravel, channel), expected);
    }
    assert!(history(&mut laravel, "1/elsewhere").is_empty());

    // `toOthers()`, also for a page on another node than the one that stores.
    for node in [&leader, &others[0]] {
        deliver(node);
    }
    let (mut a, mut b) = (Page::open(&leader), Page::of_app(&others[0], "page", SECRET));
    for page in [&mut a, &mut b] {
        page.subscribe("news");
    }
    let socket = b.socket_id.clone();
    publish_event(&mut laravel, "news", &json!("to others"), Some(&socket));
    publish_event(&mut laravel, "news", &json!("to all"), None);
    a.expect("E", "news", &json!("to others"));
    for page in [&mut a, &mut b] {
        page.expect("E", "news", &json!("to all"));
        page.expect_quiet();
    }
    // The topic stays subscribed when the last page leaves.
    for page in [&mut a, &mut b] {
        page.unsubscribe("news");
        page.expect_quiet();
    }
    publish_event(&mut laravel, "news", &json!("nobody"), None);
    eventually("it is stored", || app_numbers(&mut laravel, "news").last() == Some(&json!("nobody")));
    // Cache channels keep it as well.
    publish_event(&mut laravel, "cache-a", &json!("kept"), None);
    eventually("it is stored", || app_numbers(&mut laravel, "cache-a").len() == 1);
    for server in [&leader, &others[0]] {
        let mut page = Page::open(server);
        page.subscribe("cache-a");
        page.expect("E", "cache-a", &json!("kept"));
        page.expect_quiet();
    }
    // What is no event is dropped as before.
    for nonsense in ["", "7", r#"{"event":"pusher:error","data":{}}"#] {
        publish_raw(&mut laravel, "news", nonsense);
    }
    eventually("they are counted", || {
        ["empty", "invalid_event", "reserved_event"].iter().all(|reason| {
            leader.metric(&format!("yamabiko_broker_dropped_total{{reason=\"{reason}\"}}")) == 1
        })
    });
}

/// What `docs/deploy.md` grants, but for `+psubscribe`.
#[test]
fn without_psubscribe_events_of_the_redis_broadcaster_are_delivered_and_not_stored() {
    let user = "--user aoi on >pass resetchannels &app-database-* ~app-database-yamabiko:* -@all +subscribe +unsubscribe \
                +publish +ping +time +evalsha +script|load +get +set +setrange +del +expire +pexpire +hset +hget \
                +hincrby +hkeys +hdel +xadd +xrange +xread +xdel \
                +xtrim +expire";
    let redis = RedisServer::start_with(&user.split_whitespace().collect::<Vec<_>>());
    let server = node_at(&redis.url_as("aoi:pass"));
    let mut laravel = application(&redis);
    let (mut aoi, mut page) = (client(&server, "feed:a"), Page::open(&server));
    page.subscribe("private-orders.1");
    page.subscribe("news");
    publish_event(&mut laravel, "private-orders.1", &json!(1), None);
    page.expect("E", "private-orders.1", &json!(1));
    // A name needs no pattern.
    publish_event(&mut laravel, "news", &json!(2), None);
    page.expect("E", "news", &json!(2));
    page.expect_quiet();
    publish(&mut laravel, "feed:a", 0);
    expect_received(&mut aoi, 1);
    let entry = json!({ "channel": "feed:a", "data": { "n": 1 } }).to_string();
    let key = format!("{PREFIX}yamabiko:in");
    let _: String =
        redis::cmd("XADD").arg(key).arg("*").arg("payload").arg(entry).query(&mut laravel).unwrap();
    assert_eq!(aoi.expect_json()["data"]["n"], 1);
    assert_eq!(numbers(&mut laravel, "feed:a"), [0, 1]);
    assert_eq!(app_numbers(&mut laravel, "news"), [json!(2)]);
    assert!(history(&mut laravel, "1/private-orders.1").is_empty());
}

/// A pattern that covers every topic also covers those of the nodes.
#[test]
fn all_channels_of_an_app_can_have_a_history() {
    let redis = RedisServer::start();
    let settings = SETTINGS.replace(r#""private-orders.*", "news", "cache-*""#, r#""*""#);
    let server = Server::start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", PREFIX).config(&settings);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    let mut laravel = application(&redis);
    let (mut aoi, mut page) = (client(&server, "feed:a"), Page::open(&server));
    for channel in ["anything", "cache-a"] {
        page.ask(channel, None);
        page.expect("pusher_internal:subscription_succeeded", channel, &json!({}));
        if channel == "cache-a" {
            page.expect("pusher:cache_miss", channel, &json!({}));
        }
        for number in 0..20 {
            publish_event(&mut laravel, channel, &json!(number), None);
        }
        for number in 0..20 {
            page.expect("E", channel, &json!(number));
        }
        page.expect_quiet();
        assert_eq!(app_numbers(&mut laravel, channel).len(), 20);
    }
    for number in 0..20 {
        publish(&mut laravel, "feed:a", number);
    }
    expect_received(&mut aoi, 20);
    expect_numbers(&mut laravel, "feed:a", 20);
}

/// Runs a script of `tests/laravel` with Laravel's own classes.
pub(super) fn php(redis: &RedisServer, script: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel");
    let output = Command::new("php")
        .arg(folder.join(script))
        .args(arguments)
        .env("REDIS_PORT", redis.port().to_string())
        .env("REDIS_PREFIX", PREFIX)
        .env("BROADCAST_CONNECTION", "redis")
        .output()
        .expect("php runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn laravels_own_classes_publish_into_the_history() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let (mut aoi, mut page) = (client(&leader, "feed:a"), Page::open(&leader));
    page.subscribe("private-orders.1");
    php(&redis, "publish.php", &["feed:a", r#"{"n":0}"#]);
    expect_received(&mut aoi, 1);
    expect_numbers(&mut laravel, "feed:a", 1);
    let channels = r#"{"private":["orders.1"]}"#;
    php(&redis, "broadcast.php", &["MessageSent", channels, r#"{"message":"hello","id":1}"#]);
    let (event, channel, data) = page.next();
    assert_eq!((&*event, &*channel), ("App\\Events\\MessageSent", "private-orders.1"));
    assert_eq!((&data["message"], &data["id"]), (&json!("hello"), &json!(1)));
    page.expect_quiet();
    let stored = app_numbers(&mut laravel, "private-orders.1");
    assert_eq!((stored.len(), &stored[0]["message"]), (1, &json!("hello")));
}
