//! The native protocol over WebSocket and server-sent events.

mod endpoint;
mod gate_queues;
mod handler;
mod message_requests;
mod presence;
mod presence_handler;
mod recovery;
mod renewal;
mod replay_writer;
mod reply;
mod service;
mod silent_presence;
mod sse;
mod tail;
mod websocket;

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use axum::routing::get;

pub use endpoint::NativeEndpoint;
pub use gate_queues::GateQueues;
pub use presence::Presence;
pub use service::NativeService;
pub use silent_presence::SilentPresence;
pub use sse::sse_routes;

/// `/ws` and `/`. `landing` answers those who open `/` without a WebSocket client.
pub fn routes(
    endpoint: Arc<NativeEndpoint>,
    landing: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> Router {
    let connect = move |request: Request| ready(endpoint.connect(request));
    let root = {
        let connect = connect.clone();
        move |request: Request| {
            if is_handshake(&request) { connect(request) } else { ready(landing()) }
        }
    };
    Router::new().route("/", get(root)).route("/ws", get(connect))
}

/// Whether a request is meant as a WebSocket handshake, also where a proxy has removed its `Upgrade` header: then the
/// response says what is missing.
fn is_handshake(request: &Request) -> bool {
    let headers = request.headers();
    let has_token = || {
        let query = request.uri().query().unwrap_or_default();
        headers.contains_key(header::AUTHORIZATION)
            || form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "token")
    };
    headers.contains_key(header::UPGRADE) || headers.contains_key(header::SEC_WEBSOCKET_KEY) || has_token()
}
