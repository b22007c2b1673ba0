//! The log level, changed while the server runs.

use serde_json::{Value, json};

use super::{node, post, problem};
use crate::support::redis::RedisServer;
use crate::support::{Request, Response, Server, eventually};

const PATH: &str = "/api/v1/log-level";

fn put(server: &Server, body: &Value) -> Response {
    Request::post_json(server.admin, PATH, body.to_string()).method("PUT").send()
}

/// The level of each node, and whether it is only for a while.
fn levels(server: &Server) -> Vec<(String, bool)> {
    let levels = server.get_admin(PATH).json();
    let nodes = levels["nodes"].as_array().unwrap();
    nodes.iter().map(|node| (node["level"].as_str().unwrap().to_owned(), node["until"].is_u64())).collect()
}

/// Whether a line of the level `debug` is logged.
fn logs_debug(server: &Server) -> bool {
    let lines = |message: &str| server.log().iter().filter(|line| line["message"] == message).count();
    let before = lines("publishing over the API");
    assert_eq!(post(server, "/publish", &json!({ "channel": "chat:a", "data": {} })).status, 200);
    // Later than that line, and another one each time.
    let marker = lines("API: closing connections");
    assert_eq!(post(server, "/disconnect", &json!({ "user": marker })).status, 200);
    server.expect_log(|line| line["message"] == "API: closing connections" && line["user"] == marker);
    lines("publishing over the API") > before
}

#[test]
fn the_level_changes_on_all_nodes_for_a_while() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis)];
    let configured = ("info".to_owned(), false);
    eventually("both nodes answer", || levels(&nodes[0]) == [configured.clone(), configured.clone()]);
    assert!(!logs_debug(&nodes[0]));

    let changed = put(&nodes[0], &json!({ "level": "info,yamabiko::api=debug" }));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["nodes"].as_array().unwrap().len(), 2, "{changed:?}");
    let debug = ("info,yamabiko::api=debug".to_owned(), true);
    assert_eq!(levels(&nodes[1]), [debug.clone(), debug]);
    for node in &nodes {
        assert!(logs_debug(node));
        node.expect_log(|line| line["message"] == "the log level changes" && line["level"] == "WARN");
    }
    // A reload does not end it.
    nodes[0].write_config(super::SETTINGS);
    assert_eq!(post(&nodes[0], "/reload", &json!({})).status, 200);
    assert!(logs_debug(&nodes[0]));

    // It ends by itself, or when somebody says so.
    assert_eq!(put(&nodes[1], &json!({ "level": "debug", "seconds": 1 })).status, 200);
    eventually("it has ended", || levels(&nodes[0]) == [configured.clone(), configured.clone()]);
    assert!(!logs_debug(&nodes[1]));
    assert_eq!(put(&nodes[0], &json!({ "level": "debug" })).status, 200);
    let restored = Request::get(nodes[0].admin, PATH).method("DELETE").send();
    assert_eq!(restored.status, 200, "{restored:?}");
    assert_eq!(levels(&nodes[1]), [configured.clone(), configured]);
    assert!(!logs_debug(&nodes[1]));
}

#[test]
fn what_is_no_level_is_refused() {
    let server = super::serve();
    let long = "x".repeat(2000);
    for (body, code) in [
        (json!({ "level": "loud" }), "invalid_level"),
        (json!({ "level": "a=b=c" }), "invalid_level"),
        (json!({ "level": long }), "invalid_level"),
        (json!({ "level": "debug", "seconds": 0 }), "invalid_request"),
        (json!({ "level": "debug", "seconds": 86_401 }), "invalid_request"),
        (json!({ "seconds": 5 }), "invalid_request"),
    ] {
        let refused = problem(&put(&server, &body));
        assert_eq!((refused.0, &*refused.1), (422, code), "{body}");
    }
    assert_eq!(levels(&server), [("info".to_owned(), false)]);
}
