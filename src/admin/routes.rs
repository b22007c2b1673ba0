use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::disconnect::disconnect;
use super::guard::{self, AdminHosts};
use super::state::{AdminState, Load};
use crate::broker::Status;
use crate::telemetry::Metrics;
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
    // Counting open files takes a while if there are very many.
    match tokio::task::spawn_blocking(move || format.page(&state.metrics)).await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The two formats that Prometheus reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetricsFormat {
    Text,
    OpenMetrics,
}

impl MetricsFormat {
    /// `OpenMetrics` if it is accepted by name, with at least the quality of text.
    fn negotiate(headers: &HeaderMap) -> Self {
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open = open.max(quality);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
                text = text.max(quality);
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn page(self, metrics: &Metrics) -> String {
        match self {
            Self::Text => metrics.render_text(),
            Self::OpenMetrics => metrics.render(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_the_metrics_is_negotiated() {
        let format = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            MetricsFormat::negotiate(&headers)
        };
        assert_eq!(MetricsFormat::negotiate(&HeaderMap::new()), MetricsFormat::Text);
        for text in [
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.5",
            "application/json",
        ] {
            assert_eq!(format(text), MetricsFormat::Text, "{text}");
        }
        for open in [
            // Prometheus 2 and 3, and Grafana Alloy.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "Application/OpenMetrics-Text",
        ] {
            assert_eq!(format(open), MetricsFormat::OpenMetrics, "{open}");
        }
    }
}
