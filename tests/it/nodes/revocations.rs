//! Revoked tokens on all nodes, and after restarts of nodes and of Redis.

use serde_json::{Value, json};

use super::{Laravel, PREFIX, join, ready, start};
use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::RedisServer;
use crate::support::{Client, Request, Server, claims, eventually};

/// The latest end of a revocation: the last second of the year 9999.
const FOR_EVER: u64 = 253_402_300_799;

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
    for body in [
        r#"{"user":null,"before":4000000000}"#,
        r#"{"usr":9,"before":4000000000}"#,
        "9",
        "{}",
        // In milliseconds and nanoseconds it would concern all tokens, for ever.
        r#"{"before":1700000000000}"#,
        r#"{"user":9,"before":1700000000000000000}"#,
    ] {
        laravel.publish(&format!(r#"{{"revoke":{body}}}"#));
    }
    join(&nodes[0], 9, "Sora", "chat:").expect_quiet();
    for node in &nodes {
        node.expect_metric("yamabiko_broker_dropped_total{reason=\"invalid_revoke\"}", 6);
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
fn a_ban_for_ever_ends_with_the_year_9999_and_disturbs_no_other_revocation() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut laravel = Laravel::on(&redis);
    // PHP_INT_MAX, and what is too much for a number of Redis.
    laravel.publish(r#"{"revoke":{"user":6,"until":9223372036854775807}}"#);
    eventually("it is stored", || stored(&redis) == 1);
    assert!(is_refused(&node, 6));
    for (id, until) in [(7, i64::MAX.unsigned_abs()), (8, u64::MAX), (9, FOR_EVER + 1), (10, FOR_EVER)] {
        let body = json!({ "user": id, "until": until });
        let response = node.post_admin("/api/v1/revocations", &body.to_string());
        assert_eq!(response.status, 200, "{body}: {response:?}");
        assert_eq!(response.json()["until"], FOR_EVER, "{body}");
        assert!(is_refused(&node, id));
    }
    revoke(&node, &json!({ "user": 11 }));
    assert_eq!(stored(&redis), 6);
    let later = ready(&redis);
    assert!((6..12).all(|id| is_refused(&later, id)));
    let list = later.get_admin("/api/v1/revocations").json();
    let ends: Vec<_> =
        list["revocations"].as_array().unwrap().iter().map(|one| one["until"].clone()).collect();
    assert_eq!(
        ends[1..],
        [json!(FOR_EVER), json!(FOR_EVER), json!(FOR_EVER), json!(FOR_EVER), json!(FOR_EVER)]
    );
    restore(&later, &json!({ "user": 8 }));
    eventually("both know", || !is_refused(&node, 8) && !is_refused(&later, 8));
}

#[test]
fn revocations_that_an_older_version_has_stored_with_an_end_that_is_too_far_away_work_again() {
    let redis = RedisServer::start();
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let key = format!("{PREFIX}yamabiko:revocations");
    let nanoseconds = r#"{"user":8,"before":1700000000000000000}"#;
    for (end, text) in [
        ("9223372036854775807", r#"{"user":7}"#),
        ("18446744073709551615", r#"{"user":6}"#),
        ("1700000000000086400", nanoseconds),
        ("4000000000", r#"{"user":5}"#),
    ] {
        redis::cmd("ZADD").arg(&key).arg(end).arg(text).exec(&mut client).unwrap();
    }
    let node = ready(&redis);
    assert!((5..9).all(|id| is_refused(&node, id)));
    for (text, end) in
        [(r#"{"user":7}"#, FOR_EVER), (nanoseconds, FOR_EVER), (r#"{"user":5}"#, 4_000_000_000)]
    {
        let score: u64 = redis::cmd("ZSCORE").arg(&key).arg(text).query(&mut client).unwrap();
        assert_eq!(score, end, "{text}");
    }
    let expires: i64 = redis::cmd("TTL").arg(&key).query(&mut client).unwrap();
    assert!(expires > 0, "{expires}");
    revoke(&node, &json!({ "user": 9 }));
    // Also one that is not accepted any more.
    let list = node.get_admin("/api/v1/revocations").json()["revocations"].clone();
    for revocation in list.as_array().unwrap() {
        let mut body = revocation.clone();
        assert!(body["until"].as_u64().unwrap() <= FOR_EVER, "{body}");
        body.as_object_mut().unwrap().remove("until");
        restore(&node, &body);
    }
    assert_eq!(stored(&redis), 0);
    eventually("all are taken back", || (5..10).all(|id| !is_refused(&node, id)));
}

#[test]
fn what_redis_refuses_is_logged_until_it_works() {
    let redis = RedisServer::start();
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let key = format!("{PREFIX}yamabiko:revocations");
    redis::cmd("SET").arg(&key).arg("text").exec(&mut client).unwrap();
    let node = start(&redis.url(), |_| {});
    let line = node.expect_log(|line| line["message"] == "cannot keep revocations in Redis, retrying");
    assert_eq!(line["level"], "WARN");
    let health = node.get_admin("/readyz");
    assert_eq!((health.status, &health.json()["waiting_for"]), (503, &json!("revoked tokens")), "{health:?}");
    assert_eq!(node.post_admin("/api/v1/revocations", r#"{"user":7}"#).status, 503);
    redis::cmd("DEL").arg(&key).exec(&mut client).unwrap();
    eventually("ready", || node.get_admin("/readyz").status == 200);
    revoke(&node, &json!({ "user": 7 }));
    assert!(is_refused(&node, 7));
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
