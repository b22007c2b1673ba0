use serde_json::{Value, json};

use super::{join, node, post, problem, serve};
use crate::pusher::page::{Page, member};
use crate::support::redis::RedisServer;

const DISCONNECTED: (u16, &str) = (4403, "disconnected");

#[test]
fn users_and_channels_are_disconnected_on_all_nodes() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis)];
    let disconnect = |body: Value| {
        let response = post(&nodes[0], "/disconnect", &body);
        assert_eq!((response.status, response.json()), (200, json!({ "ok": true })), "{body}");
    };
    let mut stays = [join(&nodes[0], 9, "Sora", "chat:b"), join(&nodes[1], 9, "Sora", "chat:b")];
    let mut there = [join(&nodes[0], 7, "Aoi", "chat:a/山"), join(&nodes[1], 7, "Aoi", "chat:a/山")];
    let mut elsewhere = [join(&nodes[0], 7, "Aoi", "chat:b"), join(&nodes[1], 7, "Aoi", "chat:b")];
    let mut others = [join(&nodes[0], 8, "Ren", "chat:a/山"), join(&nodes[1], 8, "Ren", "chat:a/山")];
    disconnect(json!({ "user": 7, "channel": "chat:a/山" }));
    for client in &mut there {
        assert_eq!(client.expect_close(), (DISCONNECTED.0, DISCONNECTED.1.to_owned()));
    }
    disconnect(json!({ "channel": "chat:a/山" }));
    for client in &mut others {
        assert_eq!(client.expect_close(), (DISCONNECTED.0, DISCONNECTED.1.to_owned()));
    }
    disconnect(json!({ "user": "7" }));
    for client in &mut elsewhere {
        assert_eq!(client.expect_close(), (DISCONNECTED.0, DISCONNECTED.1.to_owned()));
    }
    stays[0].say(&json!({ "message": "still here" }));
    stays[0].expect_sent();
    for client in &mut stays {
        assert_eq!(client.expect_json()["data"], json!({ "message": "still here" }));
    }
}

#[test]
fn pages_of_an_app_are_disconnected_by_channel_user_and_connection() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis)];
    let disconnect = |body: Value| assert_eq!(post(&nodes[0], "/disconnect", &body).status, 200, "{body}");
    let closed = |page: &mut Page| assert_eq!(page.client.expect_last().1.0, 4009);
    let mut stays = Page::open(&nodes[1]);
    stays.subscribe("b");

    let mut on_channel = Page::open(&nodes[1]);
    on_channel.subscribe("a");
    // A native channel of the same name is another channel.
    let mut native = join(&nodes[1], 7, "Aoi", "a");
    disconnect(json!({ "app": "1", "channel": "a" }));
    closed(&mut on_channel);
    native.expect_quiet();

    let mut signed_in = Page::open(&nodes[1]);
    signed_in.sign_in(r#"{"id":"7"}"#);
    assert_eq!(signed_in.next().0, "pusher:signin_success");
    disconnect(json!({ "app": "1", "user": "7" }));
    closed(&mut signed_in);
    native.expect_quiet();

    let mut one = Page::open(&nodes[1]);
    one.ask("presence-a", Some(&member(8)));
    assert_eq!(one.next().0, "pusher_internal:subscription_succeeded");
    disconnect(json!({ "connection": one.socket_id }));
    closed(&mut one);
    stays.expect_quiet();
}

#[test]
fn a_request_that_does_not_say_whom_closes_no_connection() {
    let server = serve();
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!([7]), "invalid_request"),
        (json!({ "user": null }), "invalid_request"),
        (json!({ "user": null, "channel": "chat:" }), "invalid_request"),
        (json!({ "user": 7, "channel": null }), "invalid_request"),
        (json!({ "channel": null }), "invalid_request"),
        (json!({ "usr": 7, "channel": "chat:" }), "invalid_request"),
        (json!({ "user": 7, "connection": "1.2" }), "invalid_request"),
        (json!({ "channel": "chat:", "connection": "1.2" }), "invalid_request"),
        (json!({ "app": "1" }), "invalid_request"),
        (json!({ "app": "1", "user": 7, "channel": "presence-a" }), "invalid_request"),
        (json!({ "app": "none", "user": 7 }), "unknown_app"),
        (json!({ "channel": "" }), "invalid_channel"),
        (json!({ "connection": "7" }), "invalid_connection"),
    ] {
        let (status, found, _) = problem(&post(&server, "/disconnect", &body));
        assert_eq!((status, &*found), (422, code), "{body}");
    }
    // A connection that has ended is no error: it may have been there when the request was made.
    assert_eq!(post(&server, "/disconnect", &json!({ "connection": "1.2" })).status, 200);
    aoi.expect_quiet();
}
