//! Removing a user through the operators' port: 4403.

use serde_json::json;

use crate::native::{join, message};
use crate::support::{Request, Server, eventually};

const DISCONNECTED: (u16, &str) = (4403, "disconnected");

#[test]
fn a_user_is_disconnected_from_one_channel_or_all() {
    let server = Server::start(|_| {});
    let mut one_tab = join(&server, 7, "Aoi", "notes:a");
    let mut other_tab = join(&server, 7, "Aoi", "notes:a");
    let mut elsewhere = join(&server, 7, "Aoi", "notes:b");
    let mut ren = join(&server, 8, "Ren", "notes:a");

    // A message from before the disconnect arrives before it.
    ren.say(&json!({ "n": 1 }));
    ren.expect_sent();
    let answer = server.post_admin("/disconnect", r#"{"user":7,"channel":"notes:a"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    for tab in [&mut one_tab, &mut other_tab] {
        assert_eq!(tab.expect_json(), message(8, "Ren", &json!({ "n": 1 })));
        let (code, reason) = tab.expect_close();
        assert_eq!((code, &*reason), DISCONNECTED);
    }
    elsewhere.say(&json!({ "still": "here" }));
    elsewhere.expect_sent();
    elsewhere.expect_json();

    // A new token is a new start: to keep someone out, sign none.
    let mut again = join(&server, 7, "Aoi", "notes:a");
    let answer = server.post_admin("/disconnect", r#"{"user":7,"channel":null}"#);
    assert_eq!(answer.status, 200);
    for connection in [&mut elsewhere, &mut again] {
        let (code, reason) = connection.expect_close();
        assert_eq!((code, &*reason), DISCONNECTED);
    }
    ren.expect_json();
    ren.say(&json!({ "n": 2 }));
    ren.expect_sent();
    assert_eq!(ren.expect_json(), message(8, "Ren", &json!({ "n": 2 })));

    eventually("all gone", || server.metric("yamabiko_connections") == 1);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"disconnected\"}", 4);
    server.expect_log(|line| line["message"] == "disconnected" && line["code"] == 4403 && line["user"] == 7);
}

#[test]
fn disconnecting_an_absent_user_succeeds() {
    let server = Server::start(|_| {});
    for body in [r#"{"user":-9223372036854775808}"#, r#"{"user":7,"channel":"nobody:"}"#] {
        assert_eq!(server.post_admin("/disconnect", body).json(), json!({ "ok": true }));
    }
}

#[test]
fn an_invalid_disconnect_request_is_explained_and_closes_nothing() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let long = format!(r#"{{"user":7,"channel":"{}"}}"#, "a".repeat(201));
    let huge = format!(r#"{{"user":7,"channel":"{}"}}"#, "a".repeat(20_000));
    for (body, status, code, word) in [
        ("{}", 422, "invalid_request", "user"),
        (r#"{"user":""}"#, 422, "invalid_request", "user"),
        (r#"{"user":7.0}"#, 422, "invalid_request", "user"),
        (r#"{"user":7,"channel":7}"#, 422, "invalid_request", "channel"),
        // Misspelt, it must not mean every channel.
        (r#"{"user":7,"chanel":"notes:"}"#, 422, "invalid_request", "chanel"),
        (r#"{"user":7,"channel":""}"#, 422, "invalid_channel", "empty"),
        (&long, 422, "invalid_channel", "200 bytes"),
        ("user=7", 400, "invalid_json", "JSON"),
        (&huge, 413, "too_large", "length"),
    ] {
        let answer = server.post_admin("/disconnect", body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{body}");
        assert!(error["message"].as_str().unwrap().contains(word), "{body}: {error}");
    }
    assert_eq!(server.get_admin("/disconnect").status, 405);
    // A foreign page cannot send this content type without a preflight request.
    let simple = Request::post_json(server.admin, "/disconnect", r#"{"user":7}"#)
        .replace("Content-Type", "text/plain");
    assert_eq!(simple.send().status, 415);
    // The public port does not offer it.
    let public = Request::post_json(server.address, "/disconnect", r#"{"user":7}"#).send();
    assert_eq!(public.status, 404);
    aoi.say(&json!({ "still": "here" }));
    aoi.expect_sent();
}
