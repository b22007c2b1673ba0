//! New tokens for streams of server-sent events, whose requests a load balancer sends to any node.

use serde_json::json;

use super::ready;
use crate::support::redis::RedisServer;
use crate::support::{EventSource, Request, claims, token};

#[test]
fn a_stream_is_renewed_by_a_request_to_another_node() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut stream = EventSource::join(&nodes[0], 7, "Aoi", "chat:");
    let id = stream.expect_connection();
    let new = token(&claims(7, "Aoi S.", "chat:"));
    let text = json!({ "type": "auth", "token": new }).to_string();
    let request = Request::post_json(nodes[1].address, format!("/sse?connection={id}"), text);
    assert_eq!(request.header("Authorization", format!("Bearer {new}")).send().status, 202);
    assert_eq!(stream.expect_json(), json!({ "type": "auth", "ok": true }));
    nodes[0].expect_metric("yamabiko_tokens_renewed_total", 1);
    let listed = nodes[1].get_admin(&format!("/api/v1/connections/{id}")).json();
    assert_eq!(listed["user"], json!({ "id": 7, "name": "Aoi S." }));
}
