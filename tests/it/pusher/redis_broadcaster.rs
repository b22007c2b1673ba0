//! Events that Laravel's `redis` broadcaster publishes.

use serde_json::{Value, json};

use crate::pusher::page::{deliver, member, trigger, trigger_other};
use crate::pusher::{APPS, Page, node, node_at};
use crate::support::eventually;
use crate::support::redis::RedisServer;

/// Publishes on a topic until a node receives it: subscribing takes Redis a moment.
pub(crate) fn publish(redis: &RedisServer, topic: &str, payload: &str, receivers: i64) {
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

/// Connections to Redis of the application.
fn application(redis: &RedisServer) -> ::redis::Connection {
    ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap()
}

/// Publishes at once, as Laravel does, whether anybody listens or not.
fn publish_now(application: &mut ::redis::Connection, channel: &str, data: &Value) {
    let payload = json!({ "event": "E", "data": data, "socket": null }).to_string();
    let topic = format!("app-database-{channel}");
    let _: i64 = ::redis::cmd("PUBLISH").arg(topic).arg(payload).query(application).unwrap();
}

#[test]
fn a_confirmed_subscriber_misses_nothing_published_over_redis() {
    let redis = RedisServer::start();
    let server = node(&redis, &format!("limits.messages_per_second = 0\n{APPS}"));
    let mut laravel = application(&redis);
    let (mut first, mut second) = (Page::open(&server), Page::open(&server));
    for round in 0..300 {
        // The first subscriber on this node, and one that comes while Redis is still asked.
        let channel = format!("private-Chat.{}", round % 7);
        first.ask(&channel, None);
        second.ask(&channel, None);
        let pages = if round % 2 == 0 { [&mut first, &mut second] } else { [&mut second, &mut first] };
        let [earlier, later] = pages;
        earlier.expect("pusher_internal:subscription_succeeded", &channel, &json!({}));
        publish_now(&mut laravel, &channel, &json!([round, "earlier"]));
        earlier.expect("E", &channel, &json!([round, "earlier"]));
        later.expect("pusher_internal:subscription_succeeded", &channel, &json!({}));
        publish_now(&mut laravel, &channel, &json!([round, "later"]));
        let mut next = later.next();
        // It may have been on the channel already when the other one published.
        if next.2 == json!([round, "earlier"]) {
            next = later.next();
        }
        assert_eq!(next, ("E".into(), channel.clone(), json!([round, "later"])));
        earlier.expect("E", &channel, &json!([round, "later"]));
        for page in [earlier, later] {
            page.unsubscribe(&channel);
            page.expect_quiet();
        }
    }
    for round in 0..100 {
        let channel = format!("presence-Room.{}", round % 3);
        first.ask(&channel, Some(&member(1)));
        let (event, ..) = first.next();
        assert_eq!(event, "pusher_internal:subscription_succeeded");
        publish_now(&mut laravel, &channel, &json!(round));
        first.expect("E", &channel, &json!(round));
        first.unsubscribe(&channel);
        first.expect_quiet();
    }
}

#[test]
fn a_cache_channel_keeps_events_published_without_subscribers() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, APPS), node(&redis, APPS));
    let mut laravel = application(&redis);
    let channels = ["cache-a", "private-cache-a"];
    for channel in channels {
        for data in [1, 2] {
            publish_now(&mut laravel, channel, &json!(data));
        }
    }
    publish_now(&mut laravel, "presence-cache-a", &json!(2));
    for server in [&one, &two] {
        deliver(server);
        let mut page = Page::open(server);
        for channel in channels {
            page.subscribe(channel);
            page.expect("E", channel, &json!(2));
        }
        page.enter("presence-cache-a", 1);
        page.expect("E", "presence-cache-a", &json!(2));
        // Once, like everyone else.
        publish_now(&mut laravel, "cache-a", &json!(2));
        page.expect("E", "cache-a", &json!(2));
        page.expect_quiet();
    }
    // The channel has no subscriber again.
    publish_now(&mut laravel, "cache-a", &json!(3));
    // Also a node that comes later knows it.
    let three = node(&redis, APPS);
    for server in [&one, &two, &three] {
        eventually("the cache has the last event", || {
            let mut page = Page::open(server);
            page.subscribe("cache-a");
            page.next() == ("E".into(), "cache-a".into(), json!(3))
        });
    }
}

#[test]
fn without_psubscribe_only_events_with_a_subscriber_are_cached() {
    let user = "--user aoi on >pass ~* &app-database-* -@all +subscribe +unsubscribe +ping +publish +script|load +evalsha +time";
    let redis = RedisServer::start_with(&user.split(' ').collect::<Vec<_>>());
    let server = node_at(&redis.url_as("aoi:pass"), APPS);
    let mut laravel = application(&redis);
    publish_now(&mut laravel, "cache-a", &json!(1));
    let (mut page, mut late) = (Page::open(&server), Page::open(&server));
    page.subscribe("cache-a");
    page.expect("pusher:cache_miss", "cache-a", &json!({}));
    publish_now(&mut laravel, "cache-a", &json!(2));
    page.expect("E", "cache-a", &json!(2));
    late.subscribe("cache-a");
    late.expect("E", "cache-a", &json!(2));
    for page in [&mut page, &mut late] {
        page.unsubscribe("cache-a");
        page.expect_quiet();
    }
    publish(&redis, "app-database-cache-a", r#"{"event":"E","data":3,"socket":null}"#, 0);
    page.subscribe("cache-a");
    page.expect("pusher:cache_miss", "cache-a", &json!({}));
    page.expect_quiet();
    // With what docs/deploy.md adds, everything is kept.
    let patterns =
        ["cache-", "private-cache-", "presence-cache-"].map(|name| format!("&app-database-{name}*"));
    let more = ::redis::cmd("ACL").arg("SETUSER").arg("aoi").arg("+psubscribe").arg(&patterns[..]).take();
    let _: () = more.query(&mut laravel).unwrap();
    let permitted = node_at(&redis.url_as("aoi:pass"), APPS);
    publish_now(&mut laravel, "cache-a", &json!(4));
    // PUBLISH returns before the node has read its copy.
    eventually("the event has arrived", || permitted.metric("yamabiko_pusher_events_total") == 1);
    let mut page = Page::open(&permitted);
    page.subscribe("cache-a");
    page.expect("E", "cache-a", &json!(4));
    page.expect_quiet();
}

#[test]
fn subscriptions_do_not_wait_for_a_paused_redis() {
    let redis = RedisServer::start();
    let server = node(&redis, APPS);
    let mut laravel = application(&redis);
    redis.pause();
    let (mut page, mut gone, mut changed) = (Page::open(&server), Page::open(&server), Page::open(&server));
    for page in [&mut page, &mut gone, &mut changed] {
        page.ask("private-Chat.1", None);
    }
    gone.client.close();
    changed.unsubscribe("private-Chat.1");
    page.expect("pusher_internal:subscription_succeeded", "private-Chat.1", &json!({}));
    changed.expect_quiet();
    redis.resume();
    eventually("the node is back", || server.get_admin("/readyz").status == 200);
    // The topic is subscribed with the connection, before the node is ready.
    publish_now(&mut laravel, "private-Chat.1", &json!(1));
    page.expect("E", "private-Chat.1", &json!(1));
    changed.expect_quiet();
    eventually("those that are gone are not counted", || server.metric("yamabiko_pusher_subscriptions") == 1);
}

#[test]
fn a_redis_message_reaches_subscribers_on_all_nodes_once() {
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
    trigger_other(&one, &["private-Chat.1"], "E", &json!("other"));
    other.expect("E", "private-Chat.1", &json!("other"));
    b.unsubscribe("private-Chat.1");
    publish(&redis, topic, &json!({ "event": "E", "data": 2, "socket": null }).to_string(), 1);
    a.expect("E", "private-Chat.1", &json!(2));
    b.expect_quiet();
}

#[test]
fn reserved_events_cannot_be_published_over_redis() {
    let redis = RedisServer::start();
    let server = node(&redis, APPS);
    let mut page = Page::open(&server);
    page.subscribe("room");
    let topic = "app-database-room";
    for event in ["pusher_internal:member_removed", "pusher:error"] {
        publish(&redis, topic, &json!({ "event": event, "data": { "user_id": 7 } }).to_string(), 1);
    }
    // The log records each reason, however often another one occurs.
    for _ in 0..50 {
        publish(&redis, topic, "7", 1);
    }
    publish(&redis, topic, "", 1);
    publish(&redis, topic, &json!({ "event": "E", "data": 1 }).to_string(), 1);
    page.expect("E", "room", &json!(1));
    for (reason, count) in [("reserved_event", 2), ("invalid_event", 50), ("empty", 1)] {
        let line = server.expect_log(|line| line["message"] == "message dropped" && line["reason"] == reason);
        assert_eq!(line["channel"], "room");
        let counted = server.metric(&format!("yamabiko_broker_dropped_total{{reason=\"{reason}\"}}"));
        assert_eq!(counted, count, "{reason}");
    }
}

#[test]
fn a_channel_named_like_an_internal_topic_is_logged_once() {
    let redis = RedisServer::start();
    let server = node(&redis, APPS);
    for _ in 0..2 {
        let (mut one, mut two) = (Page::open(&server), Page::open(&server));
        for channel in ["broadcast", "yamabiko", "other"] {
            one.subscribe(channel);
            two.subscribe(channel);
        }
        // Over HTTP it is a channel like any other.
        trigger(&server, &["broadcast"], "E", &json!(1), None);
        one.expect("E", "broadcast", &json!(1));
        one.client.close();
        two.client.close();
        eventually("no subscriptions are left", || server.metric("yamabiko_pusher_subscriptions") == 0);
    }
    let told: Vec<Value> = server
        .log()
        .into_iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("reserved topic")))
        .map(|line| line["channel"].clone())
        .collect();
    assert_eq!(told, ["broadcast", "yamabiko"]);
}
