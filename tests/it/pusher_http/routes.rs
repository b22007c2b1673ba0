//! Routes, their answers, and how calls are counted.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::{JSON, app, call, event, is, now, one, read, refused, send, serve, signed, write};
use crate::support::Server;

#[test]
fn every_route_answers_as_the_libraries_expect() {
    let server = serve();
    let one = one();
    let several = event(&json!(["private-Chat.1", "presence-Room.1"]), "{}");
    let asking = several.replacen('{', r#"{"info":"subscription_count,user_count","socket_id":"1.2","#, 1);
    let batch = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}, {"name": "e", "channel": "b", "data": "x", "info": "subscription_count"}]}).to_string();
    let plain = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}]}).to_string();
    for (method, target, body, answer) in [
        ("POST", "/apps/1/events", &*several, "{}"),
        (
            "POST",
            "/apps/1/events",
            &*asking,
            r#"{"channels":{"presence-Room.1":{"subscription_count":0,"user_count":0},"private-Chat.1":{"subscription_count":0}}}"#,
        ),
        ("POST", "/apps/1/batch_events", &*plain, "{}"),
        ("POST", "/apps/1/batch_events", &*batch, r#"{"batch":[{},{"subscription_count":0}]}"#),
        ("GET", "/apps/1/channels", "", r#"{"channels":{}}"#),
        ("GET", "/apps/1/channels?filter_by_prefix=presence-&info=user_count", "", r#"{"channels":{}}"#),
        ("GET", "/apps/1/channels/private-Chat.1", "", r#"{"occupied":false}"#),
        (
            "GET",
            "/apps/1/channels/presence-a%40b?info=user_count,subscription_count",
            "",
            r#"{"occupied":false,"subscription_count":0,"user_count":0}"#,
        ),
        ("GET", "/apps/1/channels/presence-a/users", "", r#"{"users":[]}"#),
        ("POST", "/apps/1/users/7/terminate_connections", "{}", "{}"),
        ("POST", "/apps/1/users/a%2Fb/terminate_connections", "", "{}"),
        ("GET", "/apps/1/connections", "", r#"{"connections":0}"#),
    ] {
        let response = call(&server, &one, method, target, body);
        assert_eq!((response.status, response.text()), (200, answer), "{method} {target}");
        assert_eq!(response.header("content-type"), JSON, "{target}");
    }
    let up = server.get("/up");
    assert_eq!((up.status, up.text(), up.header("content-type")), (200, r#"{"health":"OK"}"#, JSON));

    let two = app("second app", "two", "the secret of two");
    assert_eq!(call(&server, &two, "GET", "/apps/second%20app/connections", "").status, 200);
}

#[test]
fn one_connection_serves_many_calls() {
    let server = serve();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let body = event(&json!(["a"]), "{}");
    for status in [200, 401, 200, 400, 200] {
        let body = if status == 400 { "{}" } else { &body };
        let mut target = signed(&one(), "POST", "/apps/1/events", body, now());
        if status == 401 {
            target.push('0');
        }
        write(&mut stream, "POST", &target, body);
        assert_eq!(read(&mut stream).status, status);
    }
}

#[test]
fn unknown_routes_and_methods_are_refused() {
    let server = serve();
    let one = one();
    for (method, target, status, code) in [
        ("GET", "/apps/1/nothing", 404, "not_found"),
        ("GET", "/apps/1", 404, "not_found"),
        ("POST", "/apps/1/events/more", 404, "not_found"),
        ("GET", "/apps/1/channels/%ff", 404, "not_found"),
        ("GET", "/apps/2/channels", 404, "no_such_app"),
    ] {
        let response = call(&server, &one, method, target, "");
        assert_eq!(refused(&response), is(status, code), "{target}");
    }
    for (method, target, allowed) in [
        ("GET", "/apps/1/events", "POST"),
        ("PUT", "/apps/1/events", "POST"),
        ("POST", "/apps/1/channels", "GET"),
        ("DELETE", "/apps/1/channels/a", "GET"),
    ] {
        let response = call(&server, &one, method, target, "");
        assert_eq!(refused(&response), is(405, "method_not_allowed"), "{method} {target}");
        assert_eq!(response.header("allow"), Some(allowed), "{method} {target}");
    }
    // The operators' port has none of it.
    assert_eq!(server.get_admin("/up").status, 404);
    assert_eq!(server.get_admin("/apps/1/channels").status, 404);
}

#[test]
fn invalid_calls_are_refused() {
    let server = serve();
    let one = one();
    let post = |path: &str, body: &str| refused(&call(&server, &one, "POST", path, body));
    let good = json!({"name": "e", "channel": "a", "data": "{}"});
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        event[key] = value;
        post("/apps/1/events", &event.to_string())
    };
    assert_eq!(post("/apps/1/events", "not json"), is(400, "bad_request"));
    assert_eq!(post("/apps/1/events", ""), is(400, "bad_request"));
    assert_eq!(with("channel", json!("a b")), is(400, "invalid"));
    assert_eq!(with("name", json!("pusher:ping")), is(400, "invalid"));
    assert_eq!(with("data", json!({})), is(400, "invalid"));
    assert_eq!(with("socket_id", json!("undefined")), is(400, "invalid"));
    assert_eq!(with("info", json!("members")), is(400, "bad_request"));
    assert_eq!(post("/apps/1/batch_events", r#"{"batch":{}}"#), is(400, "invalid"));
    let get = |target: &str| refused(&call(&server, &one, "GET", target, ""));
    assert_eq!(get("/apps/1/channels?info=user_count"), is(400, "bad_request"));
    assert_eq!(get("/apps/1/channels/a?info=user_count"), is(400, "bad_request"));
    assert_eq!(get("/apps/1/channels/a%20b"), is(400, "invalid"));
    assert_eq!(get("/apps/1/channels/private-a/users"), is(400, "bad_request"));
}

#[test]
fn without_apps_the_api_answers_404() {
    let server = Server::start(|_| {});
    assert_eq!(refused(&call(&server, &one(), "GET", "/apps/1/channels", "")), is(404, "no_such_app"));
}

#[test]
fn every_call_is_counted() {
    let server = serve();
    let count = |endpoint: &str, outcome: &str| {
        server.metric(&format!(r#"yamabiko_pusher_calls_total{{endpoint="{endpoint}",outcome="{outcome}"}}"#))
    };
    let good = event(&json!(["a"]), "{}");
    let other = app("1", "one", "a wrong secret");
    for _ in 0..2 {
        assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &good).status, 200);
    }
    assert_eq!(call(&server, &other, "POST", "/apps/1/events", &good).status, 401);
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", "{}").status, 400);
    for target in
        ["/apps/1/channels", "/apps/1/channels/a", "/apps/1/channels/presence-a/users", "/apps/1/connections"]
    {
        assert_eq!(call(&server, &one(), "GET", target, "").status, 200);
    }
    assert_eq!(call(&server, &one(), "POST", "/apps/1/users/7/terminate_connections", "{}").status, 200);
    assert_eq!(call(&server, &one(), "GET", "/apps/1/channels/a%20b", "").status, 400);
    assert_eq!(call(&server, &one(), "GET", "/apps/nobody/channels", "").status, 404);
    for number in 0..3 {
        assert_eq!(send(&server, "GET", &format!("/apps/1/whatever{number}"), "").status, 404);
    }
    assert_eq!(send(&server, "DELETE", "/apps/1/events", "").status, 405);
    for (endpoint, outcome, times) in [
        ("events", "ok", 2),
        ("events", "unauthorized", 1),
        ("batch_events", "invalid", 1),
        ("channels", "ok", 1),
        ("channels", "no_such_app", 1),
        ("channel", "ok", 1),
        ("channel", "invalid", 1),
        ("users", "ok", 1),
        ("connections", "ok", 1),
        ("terminate_connections", "ok", 1),
        ("none", "not_found", 3),
        ("none", "method_not_allowed", 1),
    ] {
        assert_eq!(count(endpoint, outcome), times, "{endpoint} {outcome}");
    }
    let page = server.get_admin("/metrics").text().to_owned();
    let counted = |line: &&str| line.starts_with("yamabiko_pusher_calls_total{") && !line.ends_with(" 0");
    assert_eq!(page.lines().filter(counted).count(), 12, "{page}");
}
