//! Messages that an application publishes on the topic: its sender, targets, and the rules that apply.

use serde_json::json;

use super::{Laravel, PREFIX, join, message, ready, start};
use crate::support::redis::RedisServer;
use crate::support::{Client, claims, eventually};

#[test]
fn only_the_prefixed_broadcast_topic_is_subscribed() {
    let redis = RedisServer::start();
    let mut publisher = Laravel::on(&redis);
    for prefix in [PREFIX, "laravel_database_", "", "a*[b]?_"] {
        let node = start(&redis.url(), |options| {
            options.set("redis.prefix", prefix);
        });
        eventually("Redis is there", || node.get_admin("/readyz").status == 200);
        let mut aoi = join(&node, 7, "Aoi", "notes:");
        for topic in [
            format!("{prefix}broadcast2"),
            format!("{prefix}Broadcast"),
            format!("{prefix}broadcas"),
            format!("x{prefix}broadcast"),
            format!("{prefix}_broadcast"),
            "abb_broadcast".to_owned(),
            "laravel_broadcast".to_owned(),
        ] {
            assert_eq!(
                publisher.try_publish(&topic, r#"{"channel":"notes:","data":{"wrong":1}}"#),
                0,
                "{topic}"
            );
        }
        let topic = format!("{prefix}broadcast");
        assert_eq!(publisher.try_publish(&topic, r#"{"channel":"notes:","data":{"right":1}}"#), 1, "{topic}");
        assert_eq!(aoi.expect_json(), message(0, "System", &json!({ "right": 1 })));
    }
}

#[test]
fn the_sender_of_an_application_message_is_configured_or_given() {
    let redis = RedisServer::start();
    let node = start(&redis.url(), |options| {
        options.set("sender.name", "運営").set("sender.id", -1);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    let mut aoi = join(&node, 7, "Aoi", "notes:");
    let mut laravel = Laravel::on(&redis);
    for (sender, expected) in [
        ("", json!({ "name": "運営", "id": -1 })),
        (r#","sender":null"#, json!({ "name": "運営", "id": -1 })),
        (r#","sender":{"name":"Ren","id":8}"#, json!({ "name": "Ren", "id": 8 })),
        (
            r#","sender":{"id":9007199254740993,"name":"\u5c71","email":"x"},"event":"x""#,
            json!({ "name": "山", "id": 9_007_199_254_740_993_i64 }),
        ),
    ] {
        laravel.publish(&format!(r#"{{"channel":"notes:","data":{{"a":1}}{sender}}}"#));
        assert_eq!(aoi.expect_json()["sender"], expected, "{sender}");
    }
    for wrong in
        [r#""Ren""#, "8", "[]", r#"{"name":"Ren"}"#, r#"{"name":"Ren","id":""}"#, r#"{"name":8,"id":8}"#]
    {
        laravel.publish(&format!(r#"{{"channel":"notes:","data":{{"wrong":1}},"sender":{wrong}}}"#));
    }
    laravel.publish(r#"{"channel":"notes:","data":[]}"#);
    assert_eq!(aoi.expect_json(), message(-1, "運営", &json!({})));
    node.expect_metric("yamabiko_broker_dropped_total{reason=\"invalid_sender\"}", 6);
}

#[test]
fn channel_rules_and_targets_apply_to_application_messages() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut aoi = join(&a, 7, "Aoi", "chat:");
    let mut ren = join(&a, 8, "Ren", "chat:");
    let mut aoi_on_b = join(&b, 7, "Aoi", "chat:");
    let mut laravel = Laravel::on(&redis);
    let mut targeted = |target: &str, message: u32| {
        laravel.publish(&format!(
            r#"{{"channel":"chat:","data":{{"secret":1,"target_user_id":{target},"message":{message}}}}}"#
        ));
    };
    targeted("7", 1);
    for client in [&mut aoi, &mut aoi_on_b] {
        assert_eq!(client.expect_json(), message(0, "System", &json!({ "message": 1 })));
    }
    let wrong = ["\"-7\"", "7.0", "-7", "true", "[7]", "{}", "1e1"];
    for target in wrong {
        targeted(target, 2);
    }
    for (target, number) in [("null", 3), ("0", 4), ("\"\"", 5), ("false", 6)] {
        targeted(target, number);
        for client in [&mut aoi, &mut ren, &mut aoi_on_b] {
            assert_eq!(client.expect_json(), message(0, "System", &json!({ "message": number })), "{target}");
        }
    }
    for node in [&a, &b] {
        let dropped = node.metric("yamabiko_broker_dropped_total{reason=\"invalid_target\"}");
        assert_eq!(dropped, i64::try_from(wrong.len()).unwrap());
        let line = node.expect_log(|line| line["reason"] == "invalid_target");
        assert_eq!((&line["level"], &line["channel"]), (&json!("WARN"), &json!("chat:")));
    }
    // A kind that takes nothing from browsers takes it from Laravel; tested where there is such a kind.
    let closed = start(&redis.url(), |options| {
        options.config("[channels.news]\nclient_send = false\nfields = [\"title\"]\n");
    });
    eventually("Redis is there", || closed.get_admin("/readyz").status == 200);
    let mut reader = join(&closed, 7, "Aoi", "news:");
    laravel.publish(r#"{"channel":"news:","data":{"title":"t","x":1}}"#);
    assert_eq!(reader.expect_json(), message(0, "System", &json!({ "title": "t" })));
}

#[test]
fn a_type_of_the_application_is_delivered_without_rules() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut clients = [(&nodes[0], 7), (&nodes[1], 8)].map(|(node, id)| join(node, id, "Aoi", "chat:"));
    let mut laravel = Laravel::on(&redis);
    let data = r#"{"target_user_id":7,"x":[1.0,{}],"message":"hi"}"#;
    for (message_type, expected) in [
        (
            r#","type":"userTyping""#,
            format!(r#"{{"type":"userTyping","sender":{{"name":"System","id":0}},"data":{data}}}"#),
        ),
        (
            r#","type":"a\"b\u5c71","sender":{"name":"Ren","id":8}"#,
            format!(r#"{{"type":"a\"b山","sender":{{"name":"Ren","id":8}},"data":{data}}}"#),
        ),
    ] {
        laravel.publish(&format!(r#"{{"channel":"chat:","data":{data}{message_type}}}"#));
        for client in &mut clients {
            assert_eq!(client.expect_text(), expected);
        }
    }
    // These are plain messages, to which the rules apply.
    for message_type in ["null", r#""message""#] {
        laravel
            .publish(&format!(r#"{{"channel":"chat:","data":{{"message":1,"x":1}},"type":{message_type}}}"#));
        for client in &mut clients {
            assert_eq!(client.expect_json(), message(0, "System", &json!({ "message": 1 })));
        }
    }
    for message_type in ["7", "true", "[]", "{}"] {
        laravel.publish(&format!(r#"{{"channel":"chat:","data":{{"message":1}},"type":{message_type}}}"#));
    }
    clients[0].expect_quiet();
    for node in &nodes {
        node.expect_metric("yamabiko_broker_dropped_total{reason=\"invalid_type\"}", 4);
    }
    // A client cannot choose a type.
    clients[0].send_text(r#"{"type":"userTyping","data":{"message":2}}"#);
    clients[0].expect_sent();
    assert_eq!(clients[0].expect_json(), message(7, "Aoi", &json!({ "message": 2 })));
}

#[test]
fn user_ids_may_be_strings() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut laravel = Laravel::on(&redis);
    let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let mut token = claims(0, "Ren", "chat:");
    token["id"] = json!(ulid);
    let mut ren = nodes.each_ref().map(|node| Client::connect(node, &token).expect("upgraded"));
    let mut aoi = join(&nodes[0], 7, "Aoi", "chat:");

    ren[0].say(&json!({ "message": 1 }));
    ren[0].expect_sent();
    laravel.publish(&format!(
        r#"{{"channel":"chat:","data":{{"message":1}},"sender":{{"name":"Ren","id":"{ulid}"}}}}"#
    ));
    let said =
        json!({ "type": "message", "sender": { "name": "Ren", "id": ulid }, "data": { "message": 1 } });
    for client in ren.iter_mut().chain([&mut aoi]) {
        assert_eq!([client.expect_json(), client.expect_json()], [said.clone(), said.clone()]);
    }
    laravel.publish(&format!(r#"{{"channel":"chat:","data":{{"message":2,"target_user_id":"{ulid}"}}}}"#));
    for client in &mut ren {
        assert_eq!(client.expect_json()["data"], json!({ "message": 2 }));
    }
    laravel.publish(&format!(r#"{{"disconnect":{{"user":"{ulid}","channel":"chat:"}}}}"#));
    for client in &mut ren {
        assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
    }
    // A route parameter of Laravel's is a text.
    let answer = nodes[1].post_admin("/disconnect", r#"{"user":"7"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    assert_eq!(aoi.expect_close(), (4403, "disconnected".to_owned()));
}
