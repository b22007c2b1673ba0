use serde_json::{Value, json};

use super::{join, node, post, problem, serve};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, eventually};

fn message(name: &str, id: &Value, data: &Value) -> Value {
    json!({ "type": "message", "sender": { "name": name, "id": id }, "data": data })
}

/// Reads a message of a channel with a history. Returns it without its position, and the position.
fn positioned(client: &mut Client) -> (Value, String) {
    let mut message = client.expect_json();
    let id = message.as_object_mut().unwrap().remove("id").expect("a position");
    (message, id.as_str().unwrap().to_owned())
}

#[test]
fn a_message_reaches_the_subscribers_of_all_nodes() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis)];
    let mut aoi = join(&nodes[0], 7, "Aoi", "chat:a/山");
    let mut ren = join(&nodes[1], 8, "Ren", "chat:a/山");
    let hello = json!({ "message": "hello" });
    let response = post(&nodes[0], "/publish", &json!({ "channel": "chat:a/山", "data": hello }));
    assert_eq!((response.status, response.json()), (200, json!({ "ok": true })));
    let body = json!({
        "channel": "chat:a/山", "data": { "message": "hi", "x": 1 }, "sender": { "id": "b-9", "name": "Bot" }
    });
    let response = post(&nodes[0], "/publish", &body);
    assert_eq!(response.json(), json!({ "ok": true, "omitted": ["x"] }));
    // For one of the two users.
    let body = json!({ "channel": "chat:a/山", "data": { "message": "you" }, "to": 8 });
    assert_eq!(post(&nodes[0], "/publish", &body).status, 200);
    let body = json!({ "channel": "chat:a/山", "data": { "message": "end" } });
    assert_eq!(post(&nodes[1], "/publish", &body).status, 200);
    for (client, is_addressed) in [(&mut aoi, false), (&mut ren, true)] {
        assert_eq!(client.expect_json(), message("System", &json!(0), &hello));
        assert_eq!(client.expect_json(), message("Bot", &json!("b-9"), &json!({ "message": "hi" })));
        if is_addressed {
            assert_eq!(client.expect_json(), message("System", &json!(0), &json!({ "message": "you" })));
        }
        assert_eq!(client.expect_json(), message("System", &json!(0), &json!({ "message": "end" })));
    }
}

fn positions_and_keys(server: &Server) {
    let mut aoi = join(server, 7, "Aoi", "log:a");
    let body = json!({ "channel": "log:a", "data": { "n": 1 }, "idempotency_key": "1" });
    let first = post(server, "/publish", &body).json();
    let position = first["position"].as_str().expect("a position").to_owned();
    // Again, as after a timeout.
    assert_eq!(post(server, "/publish", &body).json(), first);
    // The same key on another channel is another message.
    let other = json!({ "channel": "log:b", "data": { "n": 1 }, "idempotency_key": "1" });
    assert_ne!(post(server, "/publish", &other).json()["position"], first["position"]);
    let last = json!({ "channel": "log:a", "data": { "n": 2 } });
    let last = post(server, "/publish", &last).json();
    assert_eq!(positioned(&mut aoi), (message("System", &json!(0), &json!({ "n": 1 })), position));
    let expected = last["position"].as_str().unwrap().to_owned();
    assert_eq!(positioned(&mut aoi), (message("System", &json!(0), &json!({ "n": 2 })), expected));
}

#[test]
fn a_history_gives_a_position_and_a_key_publishes_once() {
    positions_and_keys(&serve());
    let redis = RedisServer::start();
    positions_and_keys(&node(&redis));
}

#[test]
fn an_event_reaches_the_pages_of_an_app_except_one() {
    let server = serve();
    let (mut first, mut second) = (Page::open(&server), Page::open(&server));
    for page in [&mut first, &mut second] {
        page.subscribe("private-a");
        page.subscribe("news");
    }
    let body = json!({
        "app": "1", "channels": ["private-a", "b"], "event": "E", "data": { "id": 7 }, "socket_id": first.socket_id
    });
    assert_eq!(post(&server, "/publish", &body).json(), json!({ "ok": true }));
    second.expect("E", "private-a", &json!({ "id": 7 }));
    let body =
        json!({ "app": "1", "channel": "news", "event": "N", "data": "{\"a\":1}", "idempotency_key": "k" });
    let response = post(&server, "/publish", &body).json();
    assert!(response["position"].is_string(), "{response}");
    assert_eq!(post(&server, "/publish", &body).json(), response);
    for page in [&mut first, &mut second] {
        page.expect("N", "news", &json!({ "a": 1 }));
        page.expect_quiet();
    }
}

#[test]
fn a_batch_keeps_its_order_and_answers_for_each_message() {
    let server = serve();
    let mut aoi = join(&server, 7, "Aoi", "log:a");
    let mut page = Page::open(&server);
    page.subscribe("news");
    let message_of = |number: usize| json!({ "channel": "log:a", "data": { "n": number } });
    let mut messages: Vec<Value> = (0..100).map(message_of).collect();
    messages.insert(3, json!({ "channel": "log:a", "data": 7 }));
    messages.insert(50, json!({ "app": "none", "channel": "news", "event": "E", "data": {} }));
    messages.push(json!({ "app": "1", "channel": "news", "event": "E", "data": { "a": 1 } }));
    let response = post(&server, "/publish/batch", &json!({ "messages": messages }));
    assert_eq!(response.status, 200);
    let body = response.json();
    assert_eq!(body["failed"], 2);
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 103);
    for (index, result) in results.iter().enumerate() {
        match index {
            3 => assert_eq!((&result["status"], &result["code"]), (&json!(422), &json!("invalid_data"))),
            50 => assert_eq!((&result["status"], &result["code"]), (&json!(422), &json!("unknown_app"))),
            _ => assert!(result["ok"] == true && result["position"].is_string(), "{index}: {result}"),
        }
    }
    for number in 0..100 {
        assert_eq!(positioned(&mut aoi).0["data"], json!({ "n": number }));
    }
    page.expect("E", "news", &json!({ "a": 1 }));

    let (status, code, _) = problem(&post(&server, "/publish/batch", &json!({ "messages": [] })));
    assert_eq!((status, &*code), (422, "invalid_batch"));
    let many = vec![json!({}); 1001];
    assert_eq!(problem(&post(&server, "/publish/batch", &json!({ "messages": many }))).1, "invalid_batch");
}

#[test]
fn a_message_that_is_wrong_is_rejected_as_a_whole() {
    let server = serve();
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let long = "x".repeat(256);
    for (body, code) in [
        (json!([]), "invalid_request"),
        (json!("x"), "invalid_request"),
        (json!({ "data": {} }), "invalid_request"),
        (json!({ "channel": "chat:" }), "invalid_request"),
        (json!({ "channel": 7, "data": {} }), "invalid_request"),
        (json!({ "channel": "chat:", "data": {}, "sender": { "id": 7 } }), "invalid_request"),
        (json!({ "channel": "chat:", "data": {}, "sender": { "id": "", "name": "" } }), "invalid_request"),
        (json!({ "channel": "chat:", "data": {}, "user": 7 }), "invalid_request"),
        // A user that is missing must not turn a private message into a public one.
        (json!({ "channel": "chat:", "data": {}, "to": null }), "invalid_request"),
        (json!({ "channel": "chat:", "data": {}, "to": "" }), "invalid_request"),
        (json!({ "channel": "chat:", "data": {}, "to": 0 }), "invalid_target"),
        (json!({ "channel": "chat:", "data": { "target_user_id": -1 } }), "invalid_target"),
        (json!({ "channel": "log:", "data": {}, "to": 7 }), "no_targeting"),
        (json!({ "channel": "", "data": {} }), "invalid_channel"),
        (json!({ "channel": "a\n", "data": {} }), "invalid_channel"),
        (json!({ "channel": "x".repeat(201), "data": {} }), "invalid_channel"),
        (json!({ "channel": "chat:", "data": [] }), "invalid_data"),
        (json!({ "channel": "chat:", "data": null }), "invalid_data"),
        (json!({ "channel": "chat:", "data": {}, "idempotency_key": "" }), "invalid_key"),
        (json!({ "channel": "chat:", "data": {}, "idempotency_key": long }), "invalid_key"),
        (json!({ "app": "none", "channel": "a", "event": "E", "data": {} }), "unknown_app"),
        (json!({ "app": "2", "channel": "a", "event": "E", "data": {} }), "app_disabled"),
        (json!({ "app": 1, "channel": "a", "event": "E", "data": {} }), "invalid_request"),
        (json!({ "app": "1", "event": "E", "data": {} }), "invalid_request"),
        (
            json!({ "app": "1", "channel": "a", "channels": ["b"], "event": "E", "data": {} }),
            "invalid_request",
        ),
        (json!({ "app": "1", "channels": [], "event": "E", "data": {} }), "invalid_message"),
        (json!({ "app": "1", "channel": "a b", "event": "E", "data": {} }), "invalid_message"),
        (json!({ "app": "1", "channel": "a", "event": "", "data": {} }), "invalid_message"),
        (json!({ "app": "1", "channel": "a", "event": "pusher:x", "data": {} }), "invalid_message"),
        (
            json!({ "app": "1", "channel": "a", "event": "E", "data": {}, "socket_id": "x" }),
            "invalid_connection",
        ),
        (json!({ "app": "1", "channel": "a", "event": "E", "data": {}, "to": 7 }), "invalid_request"),
    ] {
        let (status, found, _) = problem(&post(&server, "/publish", &body));
        assert_eq!((status, &*found), (422, code), "{body}");
    }
    // Nothing of it was published.
    aoi.expect_quiet();
}

#[test]
fn without_redis_publishing_is_unavailable() {
    let mut redis = RedisServer::start();
    let server = node(&redis);
    redis.kill();
    eventually("the node knows", || server.get_admin("/readyz").status == 503);
    let body = json!({ "channel": "chat:", "data": {} });
    let response = post(&server, "/publish", &body);
    assert_eq!((problem(&response).0, &*problem(&response).1), (503, "unavailable"));
    assert_eq!(response.header("retry-after"), Some("1"));
    let response = post(&server, "/publish/batch", &json!({ "messages": [body] }));
    assert_eq!(response.json()["results"][0]["code"], "unavailable");
    assert_eq!(problem(&post(&server, "/disconnect", &json!({ "user": 7 }))).0, 503);
}
