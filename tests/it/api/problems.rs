//! Every way in which a request can be wrong is a problem (RFC 9457), and leaves the server as it was.

use serde_json::json;

use super::{post, problem, serve, serve_with_keys};
use crate::support::Request;

#[test]
fn whatever_is_no_route_is_a_problem() {
    let server = serve_with_keys();
    for (address, prefix) in [(server.admin, ""), (server.address, "/yamabiko")] {
        for path in ["/api/v1", "/api/v1/", "/api/v1/none", "/api/v1/publish/none"] {
            let response = Request::get(address, format!("{prefix}{path}")).send();
            assert_eq!((problem(&response).0, &*problem(&response).1), (404, "not_found"), "{prefix}{path}");
        }
    }
    let server = serve();
    let response = Request::get(server.admin, "/api/v1/publish").send();
    assert_eq!((problem(&response).0, &*problem(&response).1), (405, "method_not_allowed"));
    assert_eq!(response.header("allow"), Some("POST"));
    for method in ["PUT", "DELETE"] {
        let response = Request::get(server.admin, "/api/v1/openapi.json").method(method).send();
        assert_eq!(problem(&response).0, 405, "{method}");
    }
}

#[test]
fn a_body_that_is_no_json_is_a_problem() {
    let server = serve();
    let send = |kind: &str, body: &str| {
        let request = Request::post_json(server.admin, "/api/v1/publish", body);
        problem(&request.replace("Content-Type", kind).send())
    };
    let good = r#"{"channel":"chat:","data":{}}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
        assert_eq!((send(kind, good).0, &*send(kind, good).1), (415, "unsupported_media_type"), "{kind}");
    }
    for body in ["", "{", "{\"a\"}", "\u{feff}{}", "nonsense", r#"{"channel":"chat:","data":{}} x"#] {
        let (status, code, _) = send("application/json", body);
        assert_eq!((status, &*code), (400, "invalid_json"), "{body}");
    }
    let response = Request::post_json(server.admin, "/api/v1/publish", good)
        .replace("Content-Type", "Application/JSON; charset=utf-8")
        .send();
    assert_eq!(response.status, 200);
}

#[test]
fn a_query_that_is_wrong_names_the_parameter() {
    let server = serve();
    for (path, wanted) in [
        ("channels?limit=two", "limit: must be a whole number"),
        ("channels?limit=", "limit: must be a whole number"),
        ("users?limit=-1", "limit: must be a whole number"),
        ("connections?limit=501", "`limit` must be a number from 1 to 500"),
        ("users/7?limit=0", "`limit` must be a number from 1 to 500"),
        ("traffic?limit=1.5", "limit: must be a whole number"),
        ("channels/chat:/members?limit=x", "limit: must be a whole number"),
        ("channels/chat:/history?limit=x", "limit: must be a whole number"),
        ("connections?page=2", "page: unknown field `page`"),
    ] {
        let (status, code, detail) = problem(&server.get_admin(&format!("/api/v1/{path}")));
        assert_eq!((status, &*code), (400, "invalid_query"), "{path}");
        assert!(detail.starts_with(wanted), "{path}: {detail}");
    }
    assert_eq!(server.get_admin("/api/v1/channels?limit=2").status, 200);
    let (status, _, detail) =
        problem(&post(&server, "/publish", &json!({ "channel": "a", "data": {}, "to": null })));
    assert_eq!(status, 422);
    assert!(
        detail.starts_with("invalid type: null, expected a whole number or a text of 1 to 64 bytes"),
        "{detail}"
    );
}

#[test]
fn a_body_that_is_too_large_is_a_problem_that_the_client_can_read() {
    let server = serve();
    let body = json!({ "channel": "chat:", "data": { "text": "x".repeat(3 * 1024 * 1024) } });
    let (status, code, _) = problem(&post(&server, "/publish", &body));
    assert_eq!((status, &*code), (413, "too_large"));
    // It fits into a body, but not into the outbox of a subscriber.
    let body = json!({ "channel": "log:", "data": { "text": "x".repeat(1024 * 1024) } });
    let (status, code, detail) = problem(&post(&server, "/publish", &body));
    assert_eq!((status, &*code), (413, "too_large"));
    assert!(detail.contains("limits.outbox_bytes"), "{detail}");
}
