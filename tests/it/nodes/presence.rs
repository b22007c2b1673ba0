//! Who is on a channel, on all nodes.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{join, message, start};
use crate::support::application::application;
use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Server, eventually};

/// A node that is silent for so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(15);

fn node(redis: &RedisServer) -> Server {
    node_with(redis, "")
}

fn node_with(redis: &RedisServer, toml: &str) -> Server {
    let node = start(&redis.url(), |options| {
        options
            .config(&format!("[channels.chat]\npresence = true\n{toml}"))
            .set("redis.publish_timeout", "2s")
            .set("server.shutdown_grace", "1s");
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

/// Settings of a webhook about the users on channels of the kind `tweet`, and what it is told.
fn of_users() -> (String, Told) {
    let (sent, received) = channel();
    let sent = Mutex::new(sent);
    let port = application(move |asked| {
        for event in asked.json()["events"].as_array()? {
            let about = if event["user"].is_null() { &event["channel"] } else { &event["user"]["id"] };
            let about = about.as_str().map_or_else(|| about.to_string(), str::to_owned);
            sent.lock().unwrap().send(format!("{} {about}", event["event"].as_str()?)).ok()?;
        }
        Some((200, String::new()))
    });
    let settings = format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{port}/\"\nkinds = [\"tweet\"]\n\
         events = [\"channel_occupied\", \"channel_vacated\", \"user_online\", \"user_offline\"]\n\
         [events]\nsecret = \"the-secret-of-events-with-32-bytes-or-more\"\n"
    );
    (settings, Told(received))
}

struct Told(Receiver<String>);

impl Told {
    /// The next events, each with its user or its channel.
    fn next(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.0.recv_timeout(PATIENCE).unwrap()).collect()
    }
}

fn came(id: i64) -> Value {
    change("connectOther", id)
}

fn left(id: i64) -> Value {
    change("disconnectOther", id)
}

fn change(message_type: &str, id: i64) -> Value {
    let sender = json!({ "name": "System", "id": 0 });
    json!({ "type": message_type, "sender": sender, "data": { "user": { "name": "A", "id": id } } })
}

fn expect_list(client: &mut Client, users: &[i64]) {
    let users: Vec<Value> = users.iter().map(|id| json!({ "id": id, "name": "A" })).collect();
    assert_eq!(client.expect_json(), json!({ "type": "connected", "users": users }));
}

/// Connects a user who is not there yet.
fn arrive(node: &Server, id: i64, others: &[i64]) -> Client {
    let mut client = join(node, id, "A", "chat:");
    expect_list(&mut client, others);
    assert_eq!(client.expect_json(), came(id));
    client
}

/// Fails if anything has come: exchanges messages between these clients.
fn expect_quiet<const N: usize>(clients: [&mut Client; N]) {
    let mut clients = clients;
    for sender in 0..N {
        clients[sender].say(&json!({ "message": sender }));
        clients[sender].expect_sent();
        for client in &mut clients {
            assert_eq!(client.expect_json()["data"], json!({ "message": sender }));
        }
    }
}

#[test]
fn users_of_all_nodes_see_each_other() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis), node(&redis));
    let mut a = arrive(&one, 1, &[]);
    let mut b = arrive(&two, 2, &[1]);
    assert_eq!(a.expect_json(), came(2));
    // Tabs on the other node change nothing.
    let mut tabs = [(&two, 1), (&one, 2)].map(|(node, id)| {
        let mut tab = join(node, id, "A", "chat:");
        expect_list(&mut tab, &[1, 2]);
        tab
    });
    {
        let [tab_of_a, tab_of_b] = &mut tabs;
        expect_quiet([&mut a, &mut b, tab_of_a, tab_of_b]);
    }
    b.close();
    let [mut tab_of_a, tab_of_b] = tabs;
    expect_quiet([&mut a, &mut tab_of_a]);
    tab_of_b.vanish();
    assert_eq!([a.expect_json(), tab_of_a.expect_json()], [left(2), left(2)]);
    // A node that starts later knows everybody as soon as it is ready, or as the answers arrive.
    let three = node(&redis);
    let mut c = join(&three, 3, "A", "chat:");
    let list = c.expect_json();
    assert_eq!(list["type"], "connected");
    let is_complete = list["users"].as_array().unwrap().len() == 1;
    let mut seen: Vec<Value> = (0..if is_complete { 1 } else { 2 }).map(|_| c.expect_json()).collect();
    seen.sort_by_key(|frame| frame["data"]["user"]["id"].as_i64());
    assert_eq!(seen.last(), Some(&came(3)));
    assert_eq!([a.expect_json(), tab_of_a.expect_json()], [came(3), came(3)]);
    expect_quiet([&mut a, &mut tab_of_a, &mut c]);
}

#[test]
fn the_users_of_a_killed_node_leave_after_a_while() {
    let redis = RedisServer::start();
    let (webhooks, told) = of_users();
    let (one, two) = (node_with(&redis, &webhooks), node_with(&redis, &webhooks));
    // Of a kind without presence, only the application is told.
    let _stays = join(&one, 5, "A", "tweet:1");
    assert_eq!(told.next(2), ["channel_occupied tweet:1", "user_online 5"]);
    let _there =
        [(5, "tweet:1"), (6, "tweet:1"), (6, "tweet:2")].map(|(id, channel)| join(&two, id, "A", channel));
    assert_eq!(told.next(3), ["user_online 6", "channel_occupied tweet:2", "user_online 6"]);
    let mut a = arrive(&one, 1, &[]);
    let mut b = arrive(&two, 2, &[1]);
    assert_eq!(a.expect_json(), came(2));
    let mut tab = join(&two, 1, "A", "chat:");
    expect_list(&mut tab, &[1, 2]);
    two.signal(Signal::KILL);
    let killed = Instant::now();
    assert!(b.text_or_end().is_none());
    // Messages go on meanwhile.
    a.say(&json!({ "message": 1 }));
    a.expect_sent();
    assert_eq!(a.expect_json(), message(1, "A", &json!({ "message": 1 })));
    assert_eq!(a.expect_json(), left(2));
    assert!(killed.elapsed() * 2 > LOST_AFTER, "{:?}", killed.elapsed());
    let mut gone = told.next(3);
    gone.sort();
    assert_eq!(gone, ["channel_vacated tweet:2", "user_offline 6", "user_offline 6"]);
    a.expect_quiet();
    // The user can come back on another node.
    let _b = arrive(&one, 2, &[1]);
    assert_eq!(a.expect_json(), came(2));
}

#[test]
fn the_users_of_a_node_that_shuts_down_leave_at_once() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis), node(&redis));
    let mut a = arrive(&one, 1, &[]);
    let mut b = arrive(&two, 2, &[1]);
    assert_eq!(a.expect_json(), came(2));
    two.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(a.expect_json(), left(2));
    assert!(asked.elapsed() < LOST_AFTER, "{:?}", asked.elapsed());
    assert_eq!(b.expect_close().0, 1001);
    assert!(two.wait(Duration::from_secs(20)).status.success());
    a.expect_quiet();
}

#[test]
fn nobody_leaves_or_comes_because_redis_restarts() {
    let mut redis = RedisServer::start();
    let (one, two) = (node(&redis), node(&redis));
    let mut a = arrive(&one, 1, &[]);
    let mut b = arrive(&two, 2, &[1]);
    let mut c = arrive(&two, 3, &[1, 2]);
    assert_eq!([a.expect_json(), a.expect_json(), b.expect_json()], [came(2), came(3), came(3)]);
    for kind in ["restart", "pause"] {
        if kind == "pause" {
            redis.pause();
        } else {
            redis.kill();
        }
        for node in [&one, &two] {
            eventually("the outage is noticed", || node.get_admin("/readyz").status == 503);
        }
        // The handshake does not wait for Redis, and whoever cannot be announced is told to come back.
        let mut late = join(&one, 4, "A", "chat:");
        assert_eq!(late.expect_close(), (1013, "try again later".to_owned()), "{kind}");
        if kind == "pause" {
            redis.resume();
        } else {
            redis.restart();
        }
        for node in [&one, &two] {
            eventually("Redis is back", || node.get_admin("/readyz").status == 200);
        }
        expect_quiet([&mut a, &mut b, &mut c]);
        let late = arrive(&one, 4, &[1, 2, 3]);
        for client in [&mut a, &mut b, &mut c] {
            assert_eq!(client.expect_json(), came(4), "{kind}");
        }
        late.close();
        for client in [&mut a, &mut b, &mut c] {
            assert_eq!(client.expect_json(), left(4), "{kind}");
        }
    }
    let closed = |node: &Server| node.metric("yamabiko_connections_closed_total{reason=\"unavailable\"}");
    assert_eq!([closed(&one), closed(&two)], [2, 0]);
    // Whoever leaves during an outage has left when it is over.
    redis.kill();
    eventually("the outage is noticed", || one.get_admin("/readyz").status == 503);
    c.close();
    redis.restart();
    assert_eq!([a.expect_json(), b.expect_json()], [left(3), left(3)]);
    expect_quiet([&mut a, &mut b]);
}

#[test]
fn a_node_without_redis_asks_clients_to_come_back() {
    let mut redis = RedisServer::absent(&[]);
    let (webhooks, told) = of_users();
    let node = start(&redis.url(), |options| {
        options.config(&format!("[channels.chat]\npresence = true\n{webhooks}"));
    });
    assert_eq!(join(&node, 1, "A", "chat:").expect_close().0, 1013);
    // Other kinds do not wait for anything, also if the application wants to know who is there.
    let mut other = join(&node, 1, "A", "tweet:");
    redis.restart();
    assert_eq!(told.next(2), ["channel_occupied tweet:", "user_online 1"]);
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    arrive(&node, 1, &[]).close();
    other.say(&json!({ "tweet": 1 }));
    other.expect_sent();
}

#[test]
fn nodes_with_and_without_presence_share_a_redis() {
    let redis = RedisServer::start();
    let one = node(&redis);
    let plain = start(&redis.url(), |_| {});
    eventually("Redis is there", || plain.get_admin("/readyz").status == 200);
    let mut a = arrive(&one, 1, &[]);
    let mut b = join(&plain, 2, "A", "chat:");
    let c = arrive(&one, 3, &[1]);
    assert_eq!(a.expect_json(), came(3));
    c.close();
    assert_eq!(a.expect_json(), left(3));
    expect_quiet([&mut a, &mut b]);
    plain.expect_metric("yamabiko_cluster_messages_ignored_total{reason=\"malformed\"}", 0);
}
