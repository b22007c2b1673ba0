//! Revoked tokens on all nodes, and after restarts of nodes and of Redis.

use serde_json::{Value, json};

use super::{Laravel, PREFIX, join, ready, start};
use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::RedisServer;
use crate::support::{Client, Request, Server, claims, eventually};

fn is_refused(node: &Server, id: i64) -> bool {
    match Client::connect(node, &claims(id, "Aoi", "chat:")) {
        Ok(client) => {
            client.close();
            false
        }
        Err(response) => {
            assert_eq!(response.json()["error"]["code"], "revoked");
            true
        }
    }
}

fn expect_revoked(client: &mut Client) {
    assert_eq!(client.expect_close(), (4401, "token revoked".to_owned()));
}

fn revoke(node: &Server, body: &Value) {
    let response = node.post_admin("/api/v1/revocations", &body.to_string());
    assert_eq!(response.status, 200, "{response:?}");
}

fn restore(node: &Server, body: &Value) {
    let request = Request::post_json(node.admin, "/api/v1/revocations", body.to_string()).method("DELETE");
    assert_eq!(request.send().status, 200, "{body}");
}

/// How many revocations are in Redis.
fn stored(redis: &RedisServer) -> i64 {
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("ZCARD").arg(format!("{PREFIX}yamabiko:revocations")).query(&mut client).unwrap()
}

#[test]
fn a_revocation_reaches_all_nodes_and_those_that_start_later() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut laravel = Laravel::on(&redis);
    for (id, by_http) in [(7, true), (8, false)] {
        let mut there = [join(&nodes[0], id, "Aoi", "chat:"), join(&nodes[1], id, "Aoi", "chat:b")];
        let mut stays = join(&nodes[1], 9, "Sora", "chat:c");
        if by_http {
            revoke(&nodes[0], &json!({ "user": id }));
        } else {
            laravel.publish(&format!(r#"{{"revoke":{{"user":{id}}}}}"#));
        }
        there.iter_mut().for_each(expect_revoked);
        assert!(nodes.iter().all(|node| is_refused(node, id)));
        stays.expect_quiet();
        eventually("it is stored", || stored(&redis) == id - 6);
    }
    // A node that starts is not ready before it knows.
    let later = ready(&redis);
    assert!(is_refused(&later, 7) && is_refused(&later, 8) && !is_refused(&later, 9));
    later.expect_metric("yamabiko_revocations", 2);
    // Taken back by any node, and by the application.
    restore(&later, &json!({ "user": 7 }));
    laravel.publish(r#"{"revoke":{"user":8,"until":0}}"#);
    for node in nodes.iter().chain([&later]) {
        eventually("both are taken back", || !is_refused(node, 7) && !is_refused(node, 8));
    }
    eventually("nothing is stored", || stored(&redis) == 0);
    // Nobody may mean everybody.
    for body in [r#"{"user":null,"before":4000000000}"#, r#"{"usr":9,"before":4000000000}"#, "9", "{}"] {
        laravel.publish(&format!(r#"{{"revoke":{body}}}"#));
    }
    join(&nodes[0], 9, "Sora", "chat:").expect_quiet();
    for node in &nodes {
        node.expect_metric("yamabiko_broker_dropped_total{reason=\"invalid_revoke\"}", 4);
        node.expect_metric("yamabiko_revocations", 0);
    }
}

#[test]
fn revocations_survive_a_redis_that_loses_everything() {
    let mut redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    revoke(&nodes[0], &json!({ "user": 7 }));
    eventually("both know", || nodes.iter().all(|node| is_refused(node, 7)));
    redis.kill();
    for node in &nodes {
        eventually("Redis is gone", || node.get_admin("/readyz").status == 503);
        assert!(is_refused(node, 7), "known without Redis");
    }
    let refused = nodes[0].post_admin("/api/v1/revocations", r#"{"user":8}"#);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    redis.restart();
    eventually("it is stored again", || stored(&redis) == 1);
    assert!(is_refused(&ready(&redis), 7));
    assert!(!is_refused(&nodes[1], 8));
}

#[test]
fn a_node_that_was_cut_off_learns_what_was_revoked_and_taken_back() {
    let redis = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(redis.port()));
    let cut_off = start(&proxy.url(), |_| {});
    eventually("Redis is there", || cut_off.get_admin("/readyz").status == 200);
    let node = ready(&redis);
    let mut aoi = join(&cut_off, 7, "Aoi", "chat:");
    // It cannot tell whether Redis has what it would write. That must not undo later what others do there meanwhile.
    proxy.set(Traffic::RepliesLost);
    revoke(&node, &json!({ "user": 8 }));
    eventually("both know", || is_refused(&cut_off, 8));
    proxy.set(Traffic::Cut);
    eventually("cut off", || cut_off.get_admin("/readyz").status == 503);
    revoke(&node, &json!({ "user": 7 }));
    restore(&node, &json!({ "user": 8 }));
    assert!(is_refused(&cut_off, 8) && !is_refused(&cut_off, 7));
    proxy.set(Traffic::Open);
    // The connection from before as well.
    expect_revoked(&mut aoi);
    eventually("it knows", || is_refused(&cut_off, 7) && !is_refused(&cut_off, 8));
    assert_eq!(stored(&redis), 1);
}

#[test]
fn a_redis_user_without_the_keys_revokes_until_the_node_ends() {
    let redis = RedisServer::start();
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let rules = format!(
        "ACL SETUSER yamabiko on >secret resetchannels &{PREFIX}* -@all +subscribe +unsubscribe +publish +ping +time +evalsha +script|load"
    );
    let mut setuser = redis::cmd("ACL");
    for word in rules.split(' ').skip(1) {
        setuser.arg(word);
    }
    setuser.exec(&mut client).unwrap();
    let node = start(&redis.url_as("yamabiko:secret"), |_| {});
    eventually("ready all the same", || node.get_admin("/readyz").status == 200);
    let line = node.expect_log(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("revocations denied"))
    });
    let hint = line["hint"].as_str().unwrap().to_owned();
    let refused = node.post_admin("/api/v1/revocations", r#"{"user":7}"#);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("ACL"), "{:?}", refused.json());
    // The application's own message needs no store.
    let mut laravel = Laravel::on(&redis);
    laravel.publish(r#"{"revoke":{"user":7}}"#);
    eventually("it is in force", || is_refused(&node, 7));
    // With what the hint names, it is kept.
    let (keys, commands) = hint.strip_prefix("grant ").unwrap().split_once(" and ").unwrap();
    let mut setuser = redis::cmd("ACL");
    setuser.arg("SETUSER").arg("yamabiko").arg(keys.replace("<redis.prefix>", PREFIX));
    for word in commands.split(' ') {
        setuser.arg(word);
    }
    setuser.exec(&mut client).unwrap();
    let granted = start(&redis.url_as("yamabiko:secret"), |_| {});
    eventually("ready", || granted.get_admin("/readyz").status == 200);
    revoke(&granted, &json!({ "user": 9 }));
    assert!(is_refused(&granted, 9));
    assert!(stored(&redis) > 0);
}

#[test]
fn one_revocation_too_many_is_refused() {
    let redis = RedisServer::start();
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let script = r#"for i = 1, 9999 do redis.call('ZADD', KEYS[1], 4000000000, '{"jti":"' .. i .. '"}') end"#;
    redis::cmd("EVAL")
        .arg(script)
        .arg(1)
        .arg(format!("{PREFIX}yamabiko:revocations"))
        .exec(&mut client)
        .unwrap();
    let node = ready(&redis);
    node.expect_metric("yamabiko_revocations", 9_999);
    revoke(&node, &json!({ "jti": "last" }));
    let full = node.post_admin("/api/v1/revocations", r#"{"user":7}"#);
    assert_eq!((full.status, &full.json()["code"]), (507, &json!("too_many_revocations")));
    let mut aoi = join(&node, 7, "Aoi", "chat:");
    aoi.expect_quiet();
    // Not silently either, where nobody waits for an answer: the connections are closed.
    Laravel::on(&redis).publish(r#"{"revoke":{"user":7}}"#);
    expect_revoked(&mut aoi);
    node.expect_log(|line| line["level"] == "ERROR" && line["message"] == "revocation dropped");
    assert!(node.metric("yamabiko_revocations_dropped_total") > 0);
    assert!(!is_refused(&node, 7));
    // One that is there is accepted, and one that goes makes room.
    revoke(&node, &json!({ "jti": "last" }));
    restore(&node, &json!({ "jti": "17" }));
    revoke(&node, &json!({ "user": 7 }));
    eventually("the node has room as well", || is_refused(&node, 7));
}
