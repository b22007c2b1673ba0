use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::disconnect::disconnect;
use crate::broker::{Broker, Status};
use crate::telemetry::Metrics;

/// What the operators' port looks at.
#[derive(Debug, Clone)]
pub struct AdminState<L> {
    /// Is it subscribed? It takes what operators ask of all nodes, too.
    pub broker: Arc<Broker>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Asked for each readiness probe.
    pub load: L,
}

/// How busy the server is with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// It is shutting down and takes no more.
    pub draining: bool,
    /// So many are open.
    pub connections: usize,
}

/// The largest body of a request, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// What the operators' port serves.
pub fn admin<L>(state: AdminState<L>) -> Router
where
    L: Fn() -> Load + Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<L>))
        .route("/metrics", get(metrics::<L>))
        .route("/disconnect", post(disconnect::<L>))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(state)
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    broker: &'a str,
    draining: bool,
    connections: usize,
}

/// 200 while new connections do well here: the broker is subscribed, and the server is not draining.
async fn ready<L: Fn() -> Load>(State(state): State<AdminState<L>>) -> Response {
    let Load { draining, connections } = (state.load)();
    let status = state.broker.status();
    let broker = match &status {
        Status::Ready => "ready",
        Status::Unavailable(reason) => reason,
    };
    let ready = status == Status::Ready && !draining;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready, broker, draining, connections })).into_response()
}

async fn metrics<L>(State(state): State<AdminState<L>>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // Counting the open files can take a while where there are very many.
    match tokio::task::spawn_blocking(move || state.metrics.render()).await {
        Ok(page) => ([(header::CONTENT_TYPE, FORMAT)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
