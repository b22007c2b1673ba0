use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::broker::{Broker, Status};
use crate::socket::Edge;

/// What the operators' port looks at.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// Is it draining, how many are connected.
    pub edge: Arc<Edge>,
    /// Is it subscribed.
    pub broker: Arc<Broker>,
}

/// What the operators' port serves.
pub fn admin(state: AdminState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// 200 while new connections do well here: the broker is subscribed, and the server is not draining.
async fn ready(State(state): State<AdminState>) -> Response {
    let draining = state.edge.is_draining();
    let status = state.broker.status();
    let broker = match &status {
        Status::Ready => "ready",
        Status::Unavailable(reason) => reason,
    };
    let ready = status == Status::Ready && !draining;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        "broker": broker,
        "draining": draining,
        "connections": state.edge.admission.open(),
    });
    (code, Json(body)).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, FORMAT)], state.edge.metrics.render()).into_response()
}
