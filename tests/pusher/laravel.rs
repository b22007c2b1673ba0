//! What Laravel's `redis` broadcaster publishes.

use serde_json::json;

use crate::page::trigger;
use crate::support::redis::RedisServer;
use crate::{APPS, BRIEFLY, Page, eventually, node};

/// Publishes on a topic until somebody hears it: subscribing takes Redis a moment.
fn publish(redis: &RedisServer, topic: &str, payload: &str, receivers: i64) {
    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let count = || -> i64 {
        let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let (_, count): (String, i64) =
            ::redis::cmd("PUBSUB").arg("NUMSUB").arg(topic).query(&mut connection).unwrap();
        count
    };
    eventually("the nodes listen", || count() == receivers);
    let _: i64 = ::redis::cmd("PUBLISH").arg(topic).arg(payload).query(&mut connection).unwrap();
}

#[test]
fn it_reaches_the_subscribers_on_all_nodes_once() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let (mut a, mut b) = (Page::open(&one), Page::open(&two));
    let mut other = Page::of_app(&one, "other", "another-secret-of-the-tests");
    other.subscribe("private-Chat.1");
    for page in [&mut a, &mut b] {
        page.subscribe("private-Chat.1");
    }
    let topic = "app-database-private-Chat.1";
    let event = "App\\Events\\ChatMessageSent";
    let payload = json!({ "event": event, "data": { "message": "山", "socket": null }, "socket": null });
    publish(&redis, topic, &payload.to_string(), 2);
    for page in [&mut a, &mut b] {
        page.expect(event, "private-Chat.1", &payload["data"]);
    }
    let socket = b.socket_id.clone();
    let payload = json!({ "event": event, "data": { "socket": socket }, "socket": socket });
    publish(&redis, topic, &payload.to_string(), 2);
    a.expect(event, "private-Chat.1", &payload["data"]);
    for nonsense in ["", "7", "{}"] {
        publish(&redis, topic, nonsense, 2);
    }
    trigger(&two, &["private-Chat.1"], "E", &json!(1), None);
    for page in [&mut a, &mut b] {
        page.expect("E", "private-Chat.1", &json!(1));
    }
    other.client.expect_nothing(BRIEFLY);
    b.unsubscribe("private-Chat.1");
    publish(&redis, topic, &json!({ "event": "E", "data": 2, "socket": null }).to_string(), 1);
    a.expect("E", "private-Chat.1", &json!(2));
    b.expect_quiet();
}
