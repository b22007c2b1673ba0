//! The HTTP API under `/api/v1`, as the application and operators use it.

mod access;
mod curl;
mod disconnect;
mod document;
mod filters;
mod key;
mod lists;
mod log_level;
mod nodes;
mod problems;
mod publish;
mod tail;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::redis::RedisServer;
use crate::support::{Client, Request, Response, Server, claims, eventually};

/// The secrets of the keys below.
const LARAVEL: &str = "laravel-key-of-the-tests-32-bytes";
const OPERATOR: &str = "operator-key-of-the-tests-32-bytes";

/// Two keys, and the API on the public port. `[[api.keys]]` precede `[api]`, which TOML permits.
const KEYS: &str = r#"
[[api.keys]]
name = "laravel"
secret = "laravel-key-of-the-tests-32-bytes"
scopes = ["publish"]

[[api.keys]]
name = "operator"
secret = "operator-key-of-the-tests-32-bytes"
scopes = ["read", "disconnect", "revoke", "reload"]

[api]
public_path = "/yamabiko"
"#;

/// Apps, and channels with a history.
const SETTINGS: &str = r#"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"

[[apps]]
id = "2"
key = "off"
secret = "another-secret-of-the-tests"
enabled = false

[[pusher.history]]
channels = ["news"]
messages = 100
age = "10m"

[channels.log]
history = { messages = 100, age = "10m" }
"#;

/// A server with the broker in memory and without keys.
fn serve() -> Server {
    Server::start(|options| {
        options.config(SETTINGS);
    })
}

fn serve_with_keys() -> Server {
    Server::start(|options| {
        options.config(&format!("{KEYS}{SETTINGS}"));
    })
}

/// A node on a Redis, ready.
fn node(redis: &RedisServer) -> Server {
    let server = Server::start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", "app-database-").config(SETTINGS);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

/// A request to the API on the operators' port, which needs no key.
fn post(server: &Server, path: &str, body: &Value) -> Response {
    server.post_admin(&format!("/api/v1{path}"), &body.to_string())
}

/// The same with a key.
fn post_with(address: SocketAddr, path: &str, body: &Value, secret: &str) -> Response {
    Request::post_json(address, path, body.to_string())
        .header("Authorization", format!("Bearer {secret}"))
        .send()
}

fn join(server: &Server, id: i64, name: &str, channel: &str) -> Client {
    Client::connect(server, &claims(id, name, channel)).expect("upgraded")
}

/// Checks that a response is a problem. Returns its status, its code and its detail.
fn problem(response: &Response) -> (u16, String, String) {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    let body = response.json();
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    assert_eq!(body["status"], json!(response.status), "{body}");
    assert_eq!(text("type"), format!("urn:yamabiko:problem:{}", text("code")));
    assert!(!text("title").is_empty() && !text("detail").is_empty(), "{body}");
    (response.status, text("code"), text("detail"))
}
