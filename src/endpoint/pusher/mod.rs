//! The Pusher protocol: its WebSocket connections and its HTTP API.

mod api;
mod connection;
mod context;
mod departure;
mod handler;
mod kept_session;
mod leave;
mod lost_sessions;
mod recovering;
mod recovery;
mod refusal;
mod replay;
mod resume;
mod session_record;
mod sessions;
mod signed_in;
mod signs_of_life;
mod tail;
mod takeover;
mod websocket;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;

pub use websocket::PusherEndpoint;

/// `/app/KEY` for WebSocket connections, `/app/KEY~TOKEN` and `/TOKEN/app/KEY` for those that resume a session, and the HTTP API under
/// `/apps`.
pub fn routes(endpoint: Arc<PusherEndpoint>) -> Router {
    let api = api::routes(endpoint.clone());
    let connect = move |request: Request| ready(endpoint.connect(request));
    Router::new()
        .route("/app", get(connect.clone()))
        .route("/app/{*key}", get(connect.clone()))
        .route("/{token}/app/{*key}", get(connect))
        .merge(api)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
