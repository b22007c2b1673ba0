use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::disconnect::disconnect;
use super::guard::{self, AdminHosts};
use super::metrics_format::MetricsFormat;
use super::page;
use super::state::{AdminState, Load};
use crate::broker::Status;
use crate::transport::{ApiError, not_found};

/// Maximum size of a request body, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// The routes of the admin port. It responds only under `hosts`. `may_disconnect` says whether a request with these headers may close
/// connections; the other routes change nothing, and are open to probes.
pub fn routes<L, D>(state: AdminState<L>, hosts: AdminHosts, may_disconnect: D) -> Router
where
    L: Fn() -> Load + Clone + Send + Sync + 'static,
    D: Fn(&HeaderMap) -> Result<(), ApiError> + Clone + Send + Sync + 'static,
{
    let permit = move |request: Request, next: Next| {
        let permitted = may_disconnect(request.headers());
        async move {
            match permitted {
                Ok(()) => next.run(request).await,
                Err(error) => error.into_response(),
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<L>))
        .route("/metrics", get(metrics::<L>))
        .route("/", get(page::redirect))
        .route("/operators", get(page::page))
        .route("/operators/assets/{name}", get(page::asset))
        .route("/disconnect", post(disconnect::<L>).route_layer(from_fn(permit)))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(state)
        .fallback(not_found)
        .layer(from_fn_with_state(hosts, guard::operators))
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    broker: &'a str,
    draining: bool,
    connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'static str>,
}

/// 200 if new connections can be served: the broker is subscribed, tokens can be checked, and the server is not draining.
async fn ready<L: Fn() -> Load>(State(state): State<AdminState<L>>) -> Response {
    let Load { draining, connections, waiting_for } = (state.load)();
    let status = state.broker.status();
    let broker = match &status {
        Status::Ready => "ready",
        Status::Unavailable(reason) => reason,
    };
    let ready = status == Status::Ready && !draining && waiting_for.is_none();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready, broker, draining, connections, waiting_for })).into_response()
}

async fn metrics<L>(State(state): State<AdminState<L>>, headers: HeaderMap) -> Response {
    let format = MetricsFormat::negotiate(&headers);
    (state.measure)().await;
    // Counting open files takes a while if there are very many.
    match tokio::task::spawn_blocking(move || format.page(&state.metrics)).await {
        Ok(Some(page)) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Ok(None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
