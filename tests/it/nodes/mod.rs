//! Two nodes on one Redis, and a Redis in all kinds of trouble, from the client's end to the other's.

mod delivery;
mod disconnects;
mod laravel_messages;
mod outages;
mod presence;
mod renewals;
mod revocations;
mod webhooks;

use serde_json::{Value, json};

use crate::support::redis::RedisServer;
use crate::support::{Client, Options, Server, claims, eventually};

const PREFIX: &str = "laravel-test-database-";

const TOPIC: &str = "laravel-test-database-broadcast";

const OK: &str = r#"{"type":"sended","ok":true}"#;

/// Publishes as Laravel does.
struct Laravel(redis::Connection);

impl Laravel {
    fn on(redis: &RedisServer) -> Self {
        Self(redis::Client::open(redis.url()).unwrap().get_connection().unwrap())
    }

    fn publish(&mut self, payload: &str) {
        assert!(self.try_publish(TOPIC, payload) > 0, "no node is subscribed");
    }

    /// Returns how many are subscribed.
    fn try_publish(&mut self, topic: &str, payload: &str) -> i64 {
        redis::cmd("PUBLISH").arg(topic).arg(payload).query(&mut self.0).unwrap()
    }
}

fn start(url: &str, change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options
            .set("redis.url", url)
            .set("redis.prefix", PREFIX)
            .set("redis.publish_timeout", "10s")
            .set("limits.messages_per_second", 0);
        change(options);
    })
}

/// A node that is connected.
fn ready(redis: &RedisServer) -> Server {
    let node = start(&redis.url(), |_| {});
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

fn join(node: &Server, id: i64, name: &str, channel: &str) -> Client {
    Client::connect(node, &claims(id, name, channel)).expect("upgraded")
}

fn message(id: i64, name: &str, data: &Value) -> Value {
    json!({ "type": "message", "sender": { "name": name, "id": id }, "data": data })
}
