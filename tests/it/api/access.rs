use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use super::{LARAVEL, OPERATOR, SETTINGS, post, post_with, problem, serve};
use crate::support::{Request, Server};

const PUBLISH: &str = "/api/v1/publish";
const DISCONNECT: &str = "/api/v1/disconnect";

#[test]
fn the_public_port_needs_a_key_with_the_scope() {
    let server = serve();
    let message = json!({ "channel": "chat:", "data": {} });
    let publish = format!("/yamabiko{PUBLISH}");

    let refused = Request::post_json(server.address, &publish, message.to_string()).send();
    assert_eq!((problem(&refused).0, &*problem(&refused).1), (401, "no_key"));
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));

    for wrong in ["x", "", &LARAVEL[1..], &format!("{LARAVEL}x")] {
        let refused = post_with(server.address, &publish, &message, wrong);
        assert_eq!((problem(&refused).0, &*problem(&refused).1), (401, "unknown_key"), "{wrong}");
        assert!(refused.header("www-authenticate").is_some());
    }

    let refused = post_with(server.address, &publish, &message, OPERATOR);
    let (status, code, detail) = problem(&refused);
    assert_eq!((status, &*code), (403, "missing_scope"));
    assert!(detail.contains("\"operator\"") && detail.contains("\"publish\""), "{detail}");

    assert_eq!(post_with(server.address, &publish, &message, LARAVEL).status, 200);
    // Only below its prefix.
    assert_eq!(post_with(server.address, PUBLISH, &message, LARAVEL).status, 404);
    // A base URL with a trailing slash yields a doubled one.
    assert_eq!(post_with(server.address, &format!("/yamabiko/{PUBLISH}"), &message, LARAVEL).status, 200);
    server.expect_metric(r#"yamabiko_api_requests_total{route="/publish",key="laravel",outcome="ok"}"#, 2);
    let rejected = r#"yamabiko_api_requests_total{route="/publish",key="",outcome="no_key"}"#;
    server.expect_metric(rejected, 1);
    assert!(server.raw_log().iter().all(|line| !line.contains(LARAVEL) && !line.contains(OPERATOR)));
}

#[test]
fn a_loopback_address_needs_no_key_but_checks_one_that_is_sent() {
    let server = serve();
    assert_eq!(post(&server, "/disconnect", &json!({ "user": 7 })).status, 200);
    let refused = post_with(server.admin, DISCONNECT, &json!({ "user": 7 }), LARAVEL);
    assert_eq!(problem(&refused).1, "missing_scope");
    assert_eq!(post_with(server.admin, DISCONNECT, &json!({ "user": 7 }), OPERATOR).status, 200);
    // Who has closed connections is in the log.
    let line = server.expect_log(|line| line["key"] == "operator");
    assert_eq!((&line["level"], &line["user"]), (&json!("INFO"), &json!(7)));
}

#[test]
fn an_operators_port_that_others_can_reach_needs_a_key() {
    let start = |keys: bool| {
        let server = Server::start(|options| {
            options.set("admin.listen", "0.0.0.0:0");
            if keys {
                options.config(SETTINGS);
            }
        });
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, server.admin.port()));
        (server, admin)
    };
    let body = json!({ "user": 7 });
    let open = |admin: SocketAddr| {
        for target in ["/healthz", "/readyz", "/metrics", "/api/v1/docs", "/api/v1/openapi.json"] {
            assert_eq!(Request::get(admin, target).send().status, 200, "{target}");
        }
    };

    let (server, admin) = start(false);
    for secret in [None, Some(OPERATOR)] {
        let send = |path: &str| match secret {
            Some(secret) => post_with(admin, path, &body, secret),
            None => Request::post_json(admin, path, body.to_string()).send(),
        };
        let (status, code, detail) = problem(&send(DISCONNECT));
        assert_eq!((status, &*code), (403, "no_keys"));
        assert!(detail.contains("[[api.keys]]"), "{detail}");
        // The older route keeps its format.
        let refused = send("/disconnect");
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("forbidden")));
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("[[api.keys]]"));
    }
    open(admin);
    let hint = server.expect_log(|line| line["level"] == "WARN");
    assert!(hint.to_string().contains("api.keys"), "{hint}");
    drop(server);

    let (_server, admin) = start(true);
    for path in [DISCONNECT, "/disconnect"] {
        assert_eq!(Request::post_json(admin, path, body.to_string()).send().status, 401, "{path}");
        assert_eq!(post_with(admin, path, &body, "x").status, 401, "{path}");
        assert_eq!(post_with(admin, path, &body, LARAVEL).status, 403, "{path}");
        assert_eq!(post_with(admin, path, &body, OPERATOR).status, 200, "{path}");
    }
    let refused = Request::post_json(admin, "/disconnect", body.to_string()).send();
    assert!(refused.header("www-authenticate").is_some());
    open(admin);
}

/// A page of the internet that posts across origins, or makes its own name resolve to the operators' address.
#[test]
fn the_operators_port_rejects_pages_of_other_sites() {
    let server = serve();
    let request = || Request::post_json(server.admin, PUBLISH, r#"{"channel":"chat:","data":{}}"#);
    let refused = request().header("Origin", "https://evil.example").send();
    assert_eq!((problem(&refused).0, &*problem(&refused).1), (403, "forbidden"));
    assert_eq!(problem(&request().replace("Host", "evil.example").send()).0, 403);
    assert_eq!(Request::get(server.admin, "/api/v1/docs").replace("Host", "evil.example").send().status, 403);
    assert_eq!(request().send().status, 200);
}
