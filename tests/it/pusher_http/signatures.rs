//! Signed calls: which secrets and times are accepted.

use serde_json::json;
use yamabiko::auth::pusher::AppCredentials;

use super::{app, call, event, is, now, one, refused, send, serve, signed};
use crate::support::Response;

#[test]
fn only_calls_signed_with_the_secret_are_accepted() {
    let server = serve();
    let body = event(&json!(["a"]), "{}");
    let target = |app: &AppCredentials, now| signed(app, "POST", "/apps/1/events", &body, now);
    let good = target(&one(), now());
    let post = |target: &str, body: &str| send(&server, "POST", target, body);
    assert_eq!(post(&good, &body).status, 200);

    let message = |response: &Response| {
        assert_eq!(refused(response), is(401, "unauthorized"));
        response.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    assert!(message(&post("/apps/1/events", &body)).contains("auth_key is missing"));
    let wrong = app("1", "one", "a guess");
    assert!(message(&post(&target(&wrong, now()), &body)).contains("auth_signature is wrong"));
    let other = app("second app", "two", "the secret of two");
    assert!(message(&post(&target(&other, now()), &body)).contains("not the key of this app"));
    for stale in [now() - 620, now() + 620] {
        assert!(message(&post(&target(&one(), stale), &body)).contains("more than 600 s off"));
    }
    assert_eq!(post(&target(&one(), now() - 580), &body).status, 200);
    let changed = body.replace("{}", "[]");
    assert!(message(&post(&good, &changed)).contains("body_md5 is not the MD5 of the body"));
    assert!(message(&post(&format!("{good}&info=x"), &body)).contains("auth_signature is wrong"));
    assert!(message(&post(&format!("{good}&auth_key=one"), &body)).contains("more than once"));
    let renamed = good.replace("body_md5", "body_md6");
    assert!(message(&post(&renamed, &body)).contains("auth_signature is wrong"));
    // Signed as a call without a body, sent with one.
    let empty = signed(&one(), "POST", "/apps/1/events", "", now());
    assert!(message(&post(&empty, &body)).contains("body_md5 is missing"));
    let elsewhere = good.replace("/apps/1/events", "/apps/1/batch_events");
    assert!(message(&post(&elsewhere, &body)).contains("auth_signature is wrong"));

    let off = app("off", "three", "the secret of three");
    assert_eq!(refused(&call(&server, &off, "GET", "/apps/off/channels", "")), is(403, "app_disabled"));
    let off = app("off", "three", "a guess");
    assert_eq!(refused(&call(&server, &off, "GET", "/apps/off/channels", "")), is(401, "unauthorized"));
}

#[test]
fn previous_secrets_are_accepted() {
    let server = serve();
    let status = |secret: &str| call(&server, &app("1", "one", secret), "GET", "/apps/1/channels", "").status;
    assert_eq!([status("the secret of one"), status("the old secret of one")], [200, 200]);
    assert_eq!(status("the older secret of one"), 401);
}
