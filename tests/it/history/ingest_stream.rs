//! What applications add to the ingest stream is delivered exactly once, also what they add while no node runs.

use std::sync::{Arc, Mutex};
use std::thread;

use redis::Connection;
use serde_json::{Value, json};

use super::laravel_messages::{
    PREFIX, app_numbers, application, client, expect_numbers, expect_received, history, node, nodes, numbers,
    php, publish_raw,
};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Client, Request, Server, claims, eventually, token};

fn add(application: &mut Connection, payload: &str) {
    let key = format!("{PREFIX}yamabiko:in");
    let _: String =
        redis::cmd("XADD").arg(key).arg("*").arg("payload").arg(payload).query(application).unwrap();
}

fn add_native(application: &mut Connection, channel: &str, number: usize) {
    add(application, &json!({ "channel": channel, "data": { "n": number } }).to_string());
}

fn length(application: &mut Connection, key: &str) -> usize {
    redis::cmd("XLEN").arg(format!("{PREFIX}{key}")).query(application).unwrap()
}

#[test]
fn entries_are_stored_and_delivered_once_and_in_order() {
    let redis = RedisServer::start();
    let (leader, others) = nodes(&redis, 2);
    let mut laravel = application(&redis);
    let mut clients: Vec<_> =
        [&leader].into_iter().chain(&others).map(|server| client(server, "feed:a")).collect();
    let mut plain = client(&others[0], "other:a");
    let mut page = Page::open(&others[1]);
    page.subscribe("news");
    page.subscribe("elsewhere");
    for number in 0..300 {
        add_native(&mut laravel, "feed:a", number);
        add_native(&mut laravel, "other:a", number);
    }
    for client in &mut clients {
        expect_received(client, 300);
    }
    expect_numbers(&mut laravel, "feed:a", 300);
    // Without a history they are delivered as well.
    expect_received(&mut plain, 300);
    assert!(history(&mut laravel, "/other:a").is_empty());

    let socket = page.socket_id.clone();
    for entry in [
        json!({ "app": "1", "channel": "news", "event": "E", "data": { "a": [1] } }),
        json!({ "app": 1, "channel": "news", "event": "E", "data": "{\"b\":2}" }),
        json!({ "app": "1", "channel": "news", "event": "E", "data": 3, "socket_id": socket }),
        json!({ "app": "2", "channel": "news", "event": "E", "data": 4 }),
        json!({ "app": "1", "channel": "elsewhere", "event": "E", "data": 5 }),
    ] {
        add(&mut laravel, &entry.to_string());
    }
    page.expect("E", "news", &json!({ "a": [1] }));
    page.expect("E", "news", &json!({ "b": 2 }));
    page.expect("E", "elsewhere", &json!(5));
    page.expect_quiet();
    assert_eq!(app_numbers(&mut laravel, "news"), [json!({ "a": [1] }), json!({ "b": 2 }), json!(3)]);
    add(&mut laravel, r#"{"channel":"feed:b","data":{"n":0},"sender":{"name":"Haruto","id":12}}"#);
    eventually("it is stored", || !history(&mut laravel, "/feed:b").is_empty());
    assert_eq!(history(&mut laravel, "/feed:b")[0]["sender"], json!({ "name": "Haruto", "id": 12 }));
    eventually("the stream is empty", || length(&mut laravel, "yamabiko:in") == 0);
    let expires: i64 = redis::cmd("TTL").arg(format!("{PREFIX}yamabiko:in")).query(&mut laravel).unwrap();
    assert!(expires > 0);
}

#[test]
fn a_type_is_stored_and_recovered() {
    let redis = RedisServer::start();
    let (leader, others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let (mut live, mut other) = (client(&others[0], "feed:a"), client(&leader, "feed:a"));
    add_native(&mut laravel, "feed:a", 0);
    other.expect_text();
    let first = live.expect_json()["id"].as_str().unwrap().to_owned();
    add(&mut laravel, r#"{"channel":"feed:a","data":{"n":1},"type":"job.Done"}"#);
    let added = live.expect_text();
    publish_raw(&mut laravel, "broadcast", r#"{"type":"job.Done","channel":"feed:a","data":{"n":2}}"#);
    let texts = [added, live.expect_text()];
    assert_eq!([other.expect_text(), other.expect_text()], texts);
    for (number, text) in (1..).zip(&texts) {
        let frame: Value = serde_json::from_str(text).unwrap();
        let id = frame["id"].as_str().unwrap();
        let sender = r#""sender":{"name":"System","id":0}"#;
        assert_eq!(*text, format!(r#"{{"type":"job.Done","id":"{id}",{sender},"data":{{"n":{number}}}}}"#));
    }
    for server in [&leader, &others[0]] {
        let target = format!("/?token={}&since={first}", token(&claims(8, "Ren", "feed:a")));
        let mut back = Client::upgrade(Request::get(server.address, target)).expect("upgraded");
        assert_eq!(back.expect_json(), json!({ "type": "recovered", "count": 2 }));
        assert_eq!([back.expect_text(), back.expect_text()], texts);
    }
}

#[test]
fn what_is_added_while_every_node_is_down_is_delivered_by_the_next_one() {
    let redis = RedisServer::start();
    let mut laravel = application(&redis);
    let (leader, others) = nodes(&redis, 1);
    add_native(&mut laravel, "feed:a", 0);
    expect_numbers(&mut laravel, "feed:a", 1);
    drop((leader, others));
    for number in 1..500 {
        add_native(&mut laravel, "feed:a", number);
    }
    let _server = node(&redis);
    expect_numbers(&mut laravel, "feed:a", 500);
    eventually("the stream is empty", || length(&mut laravel, "yamabiko:in") == 0);
}

#[test]
fn another_node_feeds_the_stream_when_the_first_one_is_killed_or_frozen() {
    use rustix::process::Signal;
    for signal in [Signal::KILL, Signal::STOP] {
        let redis = RedisServer::start();
        let mut laravel = application(&redis);
        let (leader, others) = nodes(&redis, 2);
        let mut aoi = client(&others[0], "feed:a");
        for number in 0..200 {
            add_native(&mut laravel, "feed:a", number);
        }
        leader.signal(signal);
        for number in 200..400 {
            add_native(&mut laravel, "feed:a", number);
        }
        expect_numbers(&mut laravel, "feed:a", 400);
        leader.signal(Signal::CONT);
        for number in 400..600 {
            add_native(&mut laravel, "feed:a", number);
        }
        expect_numbers(&mut laravel, "feed:a", 600);
        expect_received(&mut aoi, 600);
    }
}

#[test]
fn entries_survive_a_restart_of_redis_with_persistence() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = node(&redis);
    let mut laravel = application(&redis);
    for number in 0..100 {
        add_native(&mut laravel, "feed:a", number);
    }
    redis.kill();
    redis.restart();
    let mut laravel = application(&redis);
    for number in 100..200 {
        add_native(&mut laravel, "feed:a", number);
    }
    expect_numbers(&mut laravel, "feed:a", 200);
    drop(server);
}

#[test]
fn entries_that_cannot_be_read_become_dead_letters() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let long = "x".repeat(20_000);
    let bad = [
        ("{", "invalid_json"),
        ("[]", "invalid_envelope"),
        (r#"{"data":{}}"#, "invalid_channel"),
        (r#"{"channel":"feed:a","data":[1]}"#, "invalid_data"),
        (r#"{"channel":"feed:a","data":{},"sender":7}"#, "invalid_sender"),
        (r#"{"channel":"feed:a","data":{},"type":7}"#, "invalid_type"),
        (r#"{"app":"9","channel":"news","event":"E","data":1}"#, "unknown_app"),
        (r#"{"app":"1","channel":"n e","event":"E","data":1}"#, "invalid_channel"),
        (r#"{"app":"1","channel":"news","data":1}"#, "invalid_event"),
        (r#"{"app":"1","channel":"news","event":"pusher:error","data":1}"#, "reserved_event"),
        (r#"{"app":"1","channel":"news","event":"E","data":1,"socket_id":"x"}"#, "invalid_socket_id"),
        (&*format!(r#"{{"app":"1","channel":"news","event":"E","data":"{long}"}}"#), "too_large"),
    ];
    for (number, (payload, _)) in bad.iter().enumerate() {
        add(&mut laravel, payload);
        add_native(&mut laravel, "feed:a", number);
    }
    let key = format!("{PREFIX}yamabiko:in");
    let _: String =
        redis::cmd("XADD").arg(&key).arg("*").arg("other").arg("field").query(&mut laravel).unwrap();
    expect_numbers(&mut laravel, "feed:a", bad.len());
    eventually("all are moved", || length(&mut laravel, "yamabiko:in:dead") == bad.len() + 1);
    let dead: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
        .arg(format!("{PREFIX}yamabiko:in:dead"))
        .arg("-")
        .arg("+")
        .query(&mut laravel)
        .unwrap();
    let field = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap()
    };
    for ((payload, reason), (_, fields)) in bad.iter().zip(&dead) {
        assert_eq!(
            (field(fields, "reason").as_str(), field(fields, "payload").as_str()),
            (*reason, *payload)
        );
    }
    assert_eq!(field(&dead[bad.len()].1, "reason"), "no_payload");
    let expires: i64 =
        redis::cmd("TTL").arg(format!("{PREFIX}yamabiko:in:dead")).query(&mut laravel).unwrap();
    assert!(expires > 0);
    let count =
        |reason: &str| leader.metric(&format!("yamabiko_ingest_rejected_total{{reason=\"{reason}\"}}"));
    assert_eq!([count("invalid_channel"), count("too_large"), count("no_payload")], [2, 1, 1]);
    let line = leader.expect_log(|line| line["reason"] == "unknown_app");
    assert!(!line.to_string().contains("news"), "{line}");
}

#[test]
fn redis_out_of_memory_delays_entries_and_loses_none() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let memory = |laravel: &mut Connection, bytes: usize| {
        let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query(laravel).unwrap();
    };
    // In one transaction, so that no node feeds an entry before the memory is exhausted.
    let mut pipe = redis::pipe();
    pipe.atomic();
    for number in 0..10 {
        let payload = json!({ "channel": "feed:a", "data": { "n": number } }).to_string();
        pipe.cmd("XADD").arg(format!("{PREFIX}yamabiko:in")).arg("*").arg("payload").arg(payload).ignore();
    }
    pipe.cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).ignore();
    let () = pipe.query(&mut laravel).unwrap();
    leader
        .expect_log(|line| line["message"] == "Redis does not store entries of the ingest stream, retrying");
    assert!(numbers(&mut laravel, "feed:a").is_empty());
    memory(&mut laravel, 0);
    expect_numbers(&mut laravel, "feed:a", 10);
}

/// What the nodes publish for native channels, in the order in which Redis delivers it.
struct Published(Arc<Mutex<Vec<(String, u64)>>>);

impl Published {
    fn follow(redis: &RedisServer) -> Self {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (mut connection, entered) = (application(redis), seen.clone());
        let (is_subscribed, subscribed) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut messages = connection.as_pubsub();
            messages.subscribe(format!("{PREFIX}broadcast")).unwrap();
            is_subscribed.send(()).unwrap();
            // Until the server ends.
            while let Ok(message) = messages.get_message() {
                let payload: Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
                if let (Some(channel), Some(number)) =
                    (payload["channel"].as_str(), payload["data"]["n"].as_u64())
                {
                    entered.lock().unwrap().push((channel.to_owned(), number));
                }
            }
        });
        subscribed.recv().unwrap();
        Self(seen)
    }

    /// Nothing else is published than these, up to the last one.
    fn expect(&self, expected: &[(&str, u64)]) {
        let (channel, number) = *expected.last().unwrap();
        let is_last = |(of, at): &(String, u64)| (of.as_str(), *at) == (channel, number);
        eventually("the last entry is published", || self.0.lock().unwrap().iter().any(is_last));
        let seen = self.0.lock().unwrap();
        let seen: Vec<(&str, u64)> =
            seen.iter().map(|(channel, number)| (channel.as_str(), *number)).collect();
        assert_eq!(seen, expected);
    }
}

/// Adds entries for native channels and executes a command in one step, so that no node feeds one of them before.
fn add_and(application: &mut Connection, entries: &[(&str, u64)], command: &[&str]) {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for (channel, number) in entries {
        let payload = json!({ "channel": channel, "data": { "n": number } }).to_string();
        pipe.cmd("XADD").arg(format!("{PREFIX}yamabiko:in")).arg("*").arg("payload").arg(payload).ignore();
    }
    pipe.cmd(command[0]).arg(&command[1..]).ignore();
    let () = pipe.query(application).unwrap();
}

fn is_refused(server: &Server) -> bool {
    let is_it =
        |line: &Value| line["message"] == "Redis does not store entries of the ingest stream, retrying";
    server.log().iter().any(is_it)
}

/// Whether Redis has refused to shorten a stream.
fn has_rejected(application: &mut Connection) -> bool {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query(application).unwrap();
    let shortens =
        |line: &&str| ["cmdstat_xdel:", "cmdstat_xtrim:"].iter().any(|name| line.starts_with(name));
    statistics.lines().filter(shortens).any(|line| !line.contains("rejected_calls=0"))
}

fn configure(application: &mut Connection, name: &str, value: u64) {
    let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(application).unwrap();
}

#[test]
fn redis_out_of_memory_lets_no_entry_overtake_another_one() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let published = Published::follow(&redis);
    let entries = [("feed:a", 0), ("other:a", 1), ("feed:b", 2), ("other:a", 3)];
    add_and(&mut laravel, &entries, &["CONFIG", "SET", "maxmemory", "1"]);
    eventually("entries are refused", || is_refused(&leader));
    configure(&mut laravel, "maxmemory", 0);
    published.expect(&entries);
    eventually("the stream is empty", || length(&mut laravel, "yamabiko:in") == 0);
}

#[test]
fn redis_out_of_memory_does_not_delay_entries_that_are_not_stored() {
    let redis = RedisServer::start();
    let (leader, _others) = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let published = Published::follow(&redis);
    let entries = [("other:a", 0), ("other:b", 1), ("feed:a", 2), ("other:a", 3)];
    add_and(&mut laravel, &entries, &["CONFIG", "SET", "maxmemory", "1"]);
    published.expect(&entries[..2]);
    eventually("entries are refused", || is_refused(&leader));
    published.expect(&entries[..2]);
    assert_eq!(length(&mut laravel, "yamabiko:in"), 2);
    configure(&mut laravel, "maxmemory", 0);
    published.expect(&entries);
}

#[test]
fn an_entry_that_cannot_leave_the_stream_is_not_published() {
    let redis = RedisServer::start();
    let _nodes = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let published = Published::follow(&redis);
    let entries = [("other:a", 0), ("other:a", 1), ("other:a", 2), ("feed:a", 3)];
    add_native(&mut laravel, "other:a", 0);
    published.expect(&entries[..1]);
    // Like a failed snapshot, this makes Redis refuse every write.
    add_and(&mut laravel, &entries[1..3], &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    eventually("a node tries", || has_rejected(&mut laravel));
    configure(&mut laravel, "min-replicas-to-write", 0);
    add_native(&mut laravel, "feed:a", 3);
    published.expect(&entries);
}

#[test]
fn an_entry_before_one_that_cannot_become_a_dead_letter_is_published_once() {
    let redis = RedisServer::start();
    let _nodes = nodes(&redis, 1);
    let mut laravel = application(&redis);
    let published = Published::follow(&redis);
    let dead = format!("{PREFIX}yamabiko:in:dead");
    let () = redis::cmd("SET").arg(&dead).arg("no stream").query(&mut laravel).unwrap();
    let (key, bad) = (format!("{PREFIX}yamabiko:in"), ["XADD", "*", "payload", "{"]);
    add_and(&mut laravel, &[("other:a", 0)], &[bad[0], &key, bad[1], bad[2], bad[3]]);
    published.expect(&[("other:a", 0)]);
    add_native(&mut laravel, "feed:a", 1);
    let () = redis::cmd("DEL").arg(&dead).query(&mut laravel).unwrap();
    published.expect(&[("other:a", 0), ("feed:a", 1)]);
    assert_eq!(length(&mut laravel, "yamabiko:in:dead"), 1);
}

#[test]
fn the_snippet_of_the_documents_adds_an_entry() {
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut aoi = client(&server, "chat:default");
    php(&redis, "durable.php", &[]);
    assert_eq!(
        aoi.expect_json()["data"],
        json!({ "name": "Laravel", "message": "Hello from the application" })
    );
    assert_eq!(history(&mut application(&redis), "/chat:default").len(), 1);
}
