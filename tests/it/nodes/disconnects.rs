//! Users disconnected by an operator or by the application, on all nodes.

use serde_json::json;

use super::{Laravel, join, message, ready, start};
use crate::support::redis::RedisServer;

const SIGNALS: &str = "laravel-test-database-yamabiko";

#[test]
fn a_disconnect_reaches_all_nodes() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut laravel = Laravel::on(&redis);
    let mut ren = [join(&nodes[0], 8, "Ren", "chat:"), join(&nodes[1], 8, "Ren", "chat:")];
    for by_http in [true, false] {
        let mut remove = |body: &str| {
            if by_http {
                let answer = nodes[0].post_admin("/disconnect", body);
                assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
            } else {
                laravel.publish(&format!(r#"{{"disconnect":{body}}}"#));
            }
        };
        let mut there = [join(&nodes[0], 7, "Aoi", "chat:"), join(&nodes[1], 7, "Aoi", "chat:")];
        let mut elsewhere = [join(&nodes[0], 7, "Aoi", "chat:b"), join(&nodes[1], 7, "Aoi", "chat:b")];
        // The nodes share one order: a message from before the disconnect arrives on both.
        ren[0].say(&json!({ "message": "before" }));
        ren[0].expect_sent();
        remove(r#"{"user":7,"channel":"chat:"}"#);
        for client in &mut there {
            assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "before" })));
            assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
        }
        remove(r#"{"user":7}"#);
        for client in &mut elsewhere {
            assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
        }
        for client in &mut ren {
            assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "before" })));
        }
    }
    // An invalid request closes no connection, and is counted.
    for body in [r#"{"user":""}"#, "8", r#"{"user":8,"chanel":"chat:"}"#] {
        laravel.publish(&format!(r#"{{"disconnect":{body}}}"#));
    }
    // A newer node may send a kind that this one does not know.
    for body in [r#"{"later":{"user":8}}"#, r#"{"disconnect":{"user":8,"connection":1}}"#, "[]"] {
        let payload = format!(r#"{{"body":{body},"node":"0","seq":1}}"#);
        assert_eq!(laravel.try_publish(SIGNALS, &payload), 2);
    }
    ren[1].say(&json!({ "message": "still here" }));
    ren[1].expect_sent();
    for client in &mut ren {
        assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "still here" })));
    }
    for node in &nodes {
        node.expect_metric("yamabiko_broker_dropped_total{reason=\"invalid_disconnect\"}", 3);
        node.expect_metric("yamabiko_cluster_messages_ignored_total{reason=\"malformed\"}", 3);
    }
}

#[test]
fn a_disconnect_is_refused_without_redis() {
    let redis = RedisServer::absent(&[]);
    let node = start(&redis.url(), |_| {});
    let answer = node.post_admin("/disconnect", r#"{"user":7}"#);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("unavailable")));
}
