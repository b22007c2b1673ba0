//! Webhooks whose events wait in Redis: of nodes that crash or stop, with applications and a Redis that are away.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{PREFIX, join};
use crate::pusher::page::{Page, SECRET, sign};
use crate::support::application::{Asked, PhpServer, application};
use crate::support::ports::own_port;
use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Server, eventually};

const EVENTS_SECRET: &str = "the-secret-of-events-with-32-bytes-or-more";

fn node(redis: &str, toml: &str) -> Server {
    let node = Server::start(|options| {
        options
            .set("redis.url", redis)
            .set("redis.prefix", PREFIX)
            .set("limits.messages_per_second", 0)
            .set("limits.message_bytes", 1 << 20)
            .config(toml);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

fn native(port: u16) -> String {
    format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{port}/hook\"\nevents = [\"message\"]\n\
         [events]\nsecret = {EVENTS_SECRET:?}\n"
    )
}

fn app(port: u16) -> String {
    format!(
        "[[apps]]\nid = \"1\"\nkey = \"page\"\nsecret = {SECRET:?}\nclient_events = true\nclient_events_per_second = 0\n\
         webhooks = [{{ url = \"http://127.0.0.1:{port}/hook\", events = [\"client_event\"] }}]\n"
    )
}

/// How many events wait in Redis.
fn waiting(redis: &RedisServer) -> usize {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let pattern = format!("{PREFIX}yamabiko:webhooks:*");
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
    for key in &keys {
        let ttl: i64 = redis::cmd("TTL").arg(key).query(&mut connection).unwrap();
        assert!((80_000..=86_400).contains(&ttl), "{key} is kept for {ttl} seconds");
    }
    let streams = keys.iter().filter(|key| !key.ends_with(":state"));
    streams.map(|key| redis::cmd("XLEN").arg(key).query::<usize>(&mut connection).unwrap()).sum()
}

fn expect_waiting(redis: &RedisServer, count: usize) {
    eventually(&format!("{count} events wait in Redis"), || waiting(redis) == count);
}

fn say(client: &mut Client, numbers: std::ops::Range<i64>) {
    for number in numbers {
        client.say(&json!({ "message": number }));
    }
}

/// The first time that each event has come, as channel and number, in their order.
fn by_channel<'a>(
    events: impl Iterator<Item = &'a Value>,
    read: impl Fn(&Value) -> (Value, i64),
) -> HashMap<String, Vec<i64>> {
    let mut channels: HashMap<String, Vec<i64>> = HashMap::new();
    for event in events {
        let (channel, number) = read(event);
        let numbers = channels.entry(channel.as_str().unwrap().to_owned()).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    channels
}

/// An application of PHP at this port, which verifies signatures and appends events to a file.
fn php(port: u16, script: &str, file: &Path) -> PhpServer {
    let env = [
        ("YAMABIKO_EVENTS_SECRET", EVENTS_SECRET),
        ("PUSHER_APP_KEY", "page"),
        ("PUSHER_APP_SECRET", SECRET),
        ("EVENTS_FILE", file.to_str().unwrap()),
    ];
    PhpServer::start_on(port, script, &env)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn another_node_delivers_what_waits_on_a_killed_one() {
    let redis = RedisServer::start();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("events");
    // The application is down.
    let port = own_port();
    let killed = node(&redis.url(), &native(port));
    let mut aoi = join(&killed, 7, "Aoi", "chat:1");
    say(&mut aoi, 0..150);
    eventually("the first node has the lease", || killed.metric("yamabiko_webhooks_failed_total") > 0);
    let other = node(&redis.url(), &native(port));
    let mut ren = join(&other, 8, "Ren", "chat:2");
    say(&mut ren, 0..50);
    expect_waiting(&redis, 200);
    killed.signal(Signal::KILL);
    say(&mut ren, 50..100);
    expect_waiting(&redis, 250);
    let _php = php(port, "docs/snippets/webhook.php", &file);
    expect_waiting(&redis, 0);
    let told = by_channel(lines(&file).iter(), |event| {
        (event["channel"].clone(), event["data"]["message"].as_i64().unwrap())
    });
    let expected = [("chat:1".into(), (0..150).collect()), ("chat:2".into(), (0..100).collect())];
    assert_eq!(told, HashMap::from(expected));
    assert_eq!(other.metric("yamabiko_webhooks_dropped_total"), 0);
}

#[test]
fn the_webhooks_of_an_app_survive_a_node_that_stops_and_a_redis_that_restarts() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("events");
    let port = own_port();
    let stopped = node(&redis.url(), &app(port));
    let mut whisper = whispers(&stopped, "private-a");
    whisper(0..120);
    eventually("the first node has the lease", || stopped.metric("yamabiko_webhooks_failed_total") > 0);
    let killed = node(&redis.url(), &app(port));
    let mut whisper_there = whispers(&killed, "private-b");
    whisper_there(0..50);
    expect_waiting(&redis, 170);
    let stopping = Instant::now();
    stopped.signal(Signal::TERM);
    assert!(stopped.wait(PATIENCE).status.success());
    assert!(stopping.elapsed() < PATIENCE);
    expect_waiting(&redis, 170);
    eventually("the second node has the lease", || killed.metric("yamabiko_webhooks_failed_total") > 0);
    redis.restart();
    expect_waiting(&redis, 170);
    killed.signal(Signal::KILL);
    let _php = php(port, "tests/laravel/pusher_webhook.php", &file);
    let last = node(&redis.url(), &app(port));
    expect_waiting(&redis, 0);
    let told = by_channel(lines(&file).iter(), |event| {
        assert_eq!(event["name"], "client_event");
        (event["channel"].clone(), event["data"].as_str().unwrap().parse().unwrap())
    });
    let expected = [("private-a".into(), (0..120).collect()), ("private-b".into(), (0..50).collect())];
    assert_eq!(told, HashMap::from(expected));
    assert_eq!(last.metric("yamabiko_webhooks_dropped_total"), 0);
}

/// A page on this channel, which publishes numbers.
fn whispers(node: &Server, channel: &str) -> impl FnMut(std::ops::Range<i64>) + use<> {
    let (mut page, channel) = (Page::open(node), channel.to_owned());
    page.subscribe(&channel);
    move |numbers| {
        for number in numbers {
            page.client
                .send_json(&json!({ "event": "client-x", "channel": channel, "data": number.to_string() }));
        }
    }
}

/// An application that is down until the test says otherwise, and all that it is asked.
fn application_that_is_down() -> (u16, Arc<AtomicBool>, Receiver<Asked>) {
    let (requests, received) = channel();
    let (is_up, requests) = (Arc::new(AtomicBool::new(false)), Mutex::new(requests));
    let state = is_up.clone();
    let port = application(move |asked| {
        let status = if state.load(Ordering::SeqCst) { 200 } else { 503 };
        requests.lock().unwrap().send(asked).ok().map(|()| (status, String::new()))
    });
    (port, is_up, received)
}

#[test]
fn what_a_node_has_read_survives_a_redis_that_loses_its_data() {
    let mut redis = RedisServer::start();
    let (port, is_up, received) = application_that_is_down();
    let server = node(&redis.url(), &app(port));
    let mut whisper = whispers(&server, "private-a");
    whisper(0..20);
    let numbers = |asked: &Asked| -> Vec<i64> {
        assert_eq!(asked.header("x-pusher-signature"), Some(&*sign(SECRET, &asked.body)));
        let events = asked.json()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["data"].as_str().unwrap().parse().unwrap()).collect()
    };
    // The first request has the events that were there by then.
    let mut read = numbers(&received.recv_timeout(PATIENCE).unwrap());
    read.sort_unstable();
    redis.restart();
    server.expect_log(|line| {
        line["message"] == "Redis has lost the queue of a webhook: events that this node has read are kept"
    });
    // Client events are refused until then.
    eventually("Redis is back", || server.get_admin("/readyz").status == 200);
    whisper(20..21);
    is_up.store(true, Ordering::SeqCst);
    let mut told: Vec<i64> = Vec::new();
    while !told.contains(&20) {
        let asked = received.recv_timeout(PATIENCE).unwrap();
        told.extend(numbers(&asked));
    }
    assert!(read.iter().all(|number| told.contains(number)), "{read:?} {told:?}");
    expect_waiting(&redis, 0);
}

#[test]
fn a_queue_that_is_full_is_told() {
    let redis = RedisServer::start();
    let server = node(&redis.url(), &native(own_port()));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    let text = "x".repeat(1_000_000);
    // 32 MiB may wait.
    for _ in 0..40 {
        aoi.say(&json!({ "message": text }));
        aoi.expect_sent();
        aoi.expect_json();
    }
    let line = server.expect_log(|line| line["message"] == "webhook queue full, event dropped");
    assert_eq!(
        (&line["level"], &line["event"], &line["channel"], &line["host"]),
        (&json!("WARN"), &json!("message"), &json!("chat:1"), &json!("127.0.0.1"))
    );
    server.expect_metric("yamabiko_webhooks_dropped_total", 7);
    expect_waiting(&redis, 33);
}

#[test]
fn webhooks_work_without_permission_for_their_keys_and_the_log_says_so() {
    let acl = format!(
        "aoi on >pass resetchannels &{PREFIX}* -@all +subscribe +unsubscribe +publish +ping +time +evalsha +script|load"
    );
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let redis = RedisServer::start_with(&arguments);
    let (port, is_up, received) = application_that_is_down();
    is_up.store(true, Ordering::SeqCst);
    let server = node(&redis.url_as("aoi:pass"), &native(port));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    aoi.say(&json!({ "message": 1 }));
    assert_eq!(received.recv_timeout(PATIENCE).unwrap().json()["events"][0]["data"]["message"], 1);
    let line = server.expect_log(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("webhook events denied by the Redis ACL"))
    });
    assert!(line["hint"].as_str().unwrap().contains("+xadd"), "{line}");
}

#[test]
fn the_documented_redis_permissions_are_enough_for_webhooks() {
    let documented = include_str!("../../../docs/deploy.md");
    let granted = documented.lines().find(|line| line.contains("yamabiko:* +xadd +xrange +xdel")).unwrap();
    let granted = granted.replace("laravel_database_", PREFIX);
    let acl = format!(
        "aoi on >pass resetchannels &{PREFIX}* -@all +subscribe +unsubscribe +publish +ping +time +evalsha +script|load {}",
        granted.trim()
    );
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let redis = RedisServer::start_with(&arguments);
    let (port, is_up, received) = application_that_is_down();
    let server = node(&redis.url_as("aoi:pass"), &native(port));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    aoi.say(&json!({ "message": 1 }));
    expect_waiting(&redis, 1);
    received.recv_timeout(PATIENCE).unwrap();
    is_up.store(true, Ordering::SeqCst);
    expect_waiting(&redis, 0);
}
