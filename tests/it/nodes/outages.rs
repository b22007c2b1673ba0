//! Redis absent, killed, stopped, paused or locked, from one client's end to the other's.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{OK, join, message, ready, start};
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, eventually};

/// In an outage, a sender must learn within this time that its message was not sent. Elsewhere it is longer, because a
/// busy machine is not an outage.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn a_node_waits_for_an_absent_redis() {
    let mut redis = RedisServer::absent(&[]);
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    outage.expect_refusals();
    redis.restart();
    outage.is_over();
}

#[test]
fn a_node_reconnects_to_a_killed_redis() {
    let mut redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    for _ in 0..2 {
        redis.kill();
        outage.expect_refusals();
        redis.restart();
        outage.is_over();
    }
}

#[test]
fn a_stopped_redis_delivers_nothing_late() {
    let redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    redis.pause();
    outage.expect_refusals();
    outage.expect_refusals();
    redis.resume();
    outage.is_over();
}

#[test]
fn a_paused_redis_delivers_nothing_late() {
    let redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    // Writes alone can be resumed; when everything is paused, CLIENT UNPAUSE is paused as well.
    for (mode, milliseconds) in [("WRITE", 600_000), ("ALL", 8_000)] {
        let mut outage = Outage::begin(&nodes);
        let mut operator = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let () = redis::cmd("CLIENT").arg("PAUSE").arg(milliseconds).arg(mode).query(&mut operator).unwrap();
        outage.expect_refusals();
        if mode == "WRITE" {
            let () = redis::cmd("CLIENT").arg("UNPAUSE").query(&mut operator).unwrap();
        }
        outage.is_over();
    }
}

#[test]
fn a_redis_that_cannot_save_its_data_still_delivers() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut aoi = join(&node, 7, "Aoi", "notes:");
    let mut operator = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut ask = |command: &[&str]| -> redis::RedisResult<redis::Value> {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut operator)
    };
    // A snapshot cannot take the place of a directory. From then on Redis accepts no writes, and refuses PING.
    std::fs::create_dir_all(redis.log_file().with_file_name("dump.rdb").join("in-the-way")).unwrap();
    ask(&["CONFIG", "SET", "save", "3600 1"]).unwrap();
    ask(&["BGSAVE"]).unwrap();
    eventually("the snapshot has failed", || {
        ask(&["PING"]).is_err_and(|error| error.code() == Some("MISCONF"))
    });
    ask(&["CONFIG", "RESETSTAT"]).unwrap();
    eventually("the node has been refused", || {
        let stats: String = redis::from_redis_value(ask(&["INFO", "commandstats"]).unwrap()).unwrap();
        stats.lines().any(|line| line.starts_with("cmdstat_ping:") && !line.contains("rejected_calls=0"))
    });
    // Also a node that starts is ready, though it reads the revoked tokens first.
    let late = ready(&redis);
    let mut ren = join(&late, 8, "Ren", "notes:");
    for number in 0..3 {
        aoi.say(&json!({ "n": number }));
        aoi.expect_sent();
        for client in [&mut aoi, &mut ren] {
            assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "n": number })));
        }
    }
    for node in [&node, &late] {
        node.expect_metric("yamabiko_broker_interruptions_total", 0);
    }
}

#[test]
fn a_wrong_password_is_an_outage_until_it_is_corrected() {
    let redis = RedisServer::start_with(&["--requirepass", "the right password"]);
    // The server's log is searched for its password at the end.
    let nodes = [0, 1].map(|_| impatient(&redis.url_as(":the-wrong-password")));
    let node = &nodes[0];
    let mut outage = Outage::begin(&nodes);
    outage.expect_refusals();
    eventually("a reason", || {
        node.get_admin("/readyz").json()["broker"].as_str().is_some_and(|why| why.contains("WRONGPASS"))
    });
    assert!(!node.get_admin("/readyz").text().contains("the-wrong-password"));
    let mut operator =
        redis::Client::open(redis.url_as(":the%20right%20password")).unwrap().get_connection().unwrap();
    let () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("the-wrong-password")
        .query(&mut operator)
        .unwrap();
    outage.is_over();
}

#[test]
fn a_stopped_node_reads_the_reply_before_it_applies_the_deadline() {
    let redis = RedisServer::start();
    // The node must be stopped before this has passed.
    let deadline = Duration::from_secs(5);
    let still = start(&redis.url(), |options| {
        options.set("redis.publish_timeout", format!("{}s", deadline.as_secs()));
    });
    let other = ready(&redis);
    eventually("Redis is there", || still.get_admin("/readyz").status == 200);
    let mut sender = join(&still, 7, "Aoi", "notes:");
    let mut receiver = join(&other, 8, "Ren", "notes:");
    for round in 0..2 {
        let data = json!({ "n": round, "blob": "x".repeat(10_000) });
        // The node is stopped when the message lies in Redis's socket, before there is an answer.
        while !lies_in_its_socket(&redis, || sender.say(&data)) {
            redis.resume();
            sender.expect_sent();
            for client in [&mut sender, &mut receiver] {
                assert_eq!(client.expect_json(), message(7, "Aoi", &data));
            }
        }
        still.signal(Signal::STOP);
        redis.resume();
        assert_eq!(receiver.expect_json(), message(7, "Aoi", &data));
        // Until the deadline of the message has passed by the clock.
        thread::sleep(deadline + Duration::from_secs(1));
        still.signal(Signal::CONT);
        sender.expect_sent();
        assert_eq!(sender.expect_json(), message(7, "Aoi", &data));
    }
    still.expect_metric("yamabiko_broker_interruptions_total", 0);
}

/// Whether Redis, which is paused, gets what is sent. A node that waits for an answer, to a heartbeat for example, sends later.
fn lies_in_its_socket(redis: &RedisServer, send: impl FnOnce()) -> bool {
    redis.pause();
    send();
    let attempt = Instant::now();
    while redis.unread() <= 10_000 {
        if attempt.elapsed() > Duration::from_secs(1) {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn a_message_refused_without_redis_is_never_delivered() {
    let mut redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut on_a = join(&a, 7, "Aoi", "notes:");
    let mut on_b = join(&b, 8, "Ren", "notes:");
    redis.kill();
    for _ in 0..20 {
        on_a.say(&json!({ "lost": true }));
        assert_eq!(on_a.expect_json()["error"]["code"], "unavailable");
    }
    redis.restart();
    for node in [&a, &b] {
        eventually("both are back", || node.get_admin("/readyz").status == 200);
    }
    on_a.say(&json!({ "lost": false }));
    on_a.expect_sent();
    for client in [&mut on_a, &mut on_b] {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "lost": false })));
    }
}

/// A sender and listeners on nodes that have lost Redis, and what they may expect.
struct Outage<'n> {
    node: &'n Server,
    other: &'n Server,
    sender: Client,
    listeners: [Client; 2],
    refused: usize,
}

impl<'n> Outage<'n> {
    fn begin([node, other]: &'n [Server; 2]) -> Self {
        for node in [node, other] {
            // Each node is connected to Redis when the outage begins, or has logged why it is not.
            node.expect_log(|line| line["message"] == "connected to Redis" || line["level"] == "WARN");
        }
        let listeners = [join(node, 8, "Ren", "notes:"), join(other, 9, "Yui", "notes:")];
        Self { node, other, sender: join(node, 7, "Aoi", "notes:"), listeners, refused: 0 }
    }

    /// Every sender is refused in time, and readiness and the metrics show the outage.
    fn expect_refusals(&mut self) {
        for _ in 0..3 {
            self.sender.say(&json!({ "refused": self.refused }));
            let answer = self.sender.expect_json();
            assert_eq!((&answer["type"], &answer["ok"]), (&json!("sended"), &json!(false)), "{answer}");
            assert_eq!(answer["error"]["code"], "unavailable");
            self.refused += 1;
        }
        // An invalid message is refused as always.
        self.sender.send_text("{}");
        assert_eq!(self.sender.expect_json()["error"]["code"], "invalid_message");
        let refused = self.node.metric("yamabiko_messages_refused_total{reason=\"unavailable\"}");
        assert!(refused >= i64::try_from(self.refused).unwrap());
        eventually("not ready", || self.node.get_admin("/readyz").status == 503);
    }

    /// The service recovers on the same connections, and no refused message arrives.
    fn is_over(&mut self) {
        for node in [self.node, self.other] {
            eventually("ready again", || node.get_admin("/readyz").status == 200);
        }
        for number in 0..3 {
            let data = json!({ "accepted": number });
            self.sender.say(&data);
            assert_eq!(self.sender.expect_text(), OK);
            for client in [&mut self.sender].into_iter().chain(&mut self.listeners) {
                assert_eq!(client.expect_json(), message(7, "Aoi", &data));
            }
        }
    }
}

/// A node that soon gives up waiting for Redis.
fn impatient(url: &str) -> Server {
    start(url, |options| {
        options.set("redis.publish_timeout", format!("{}s", PUBLISH_TIMEOUT.as_secs()));
    })
}
