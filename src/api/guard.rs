use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::ProblemCode;
use super::request::discard;
use super::{Access, Problem, Scope};
use crate::telemetry::{ApiRequest, Metrics, Route, Span};
use crate::trace_context::{TRACEPARENT, TraceContext};

/// The trace of a permitted request, if it is traced.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestTrace(pub(super) Option<TraceContext>);

/// Guards routes: a request needs a key with this scope. `None`: any key.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) access: Access,
    pub(super) scope: Option<Scope>,
    pub(super) metrics: Arc<Metrics>,
}

/// Passes a permitted request on, with its [`Caller`](super::Caller), the [`Access`] and its [`RequestTrace`] as extensions. Counts every
/// request.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = matched.as_deref().and_then(|path| path.split_once("/api/v1")).map_or("", |(_, route)| route);
    let checked = match guard.scope {
        Some(scope) => guard.access.check(request.headers(), scope),
        None => guard.access.identify(request.headers()),
    };
    let (key, response) = match checked {
        Ok(caller) => {
            let key = caller.name().to_owned();
            let span = start_span(&guard.metrics, &request, route, &key);
            request.extensions_mut().insert(RequestTrace(span.as_ref().map(Span::context)));
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(guard.access);
            let response = next.run(request).await;
            end_span(span, &response);
            (key, response)
        }
        Err(error) => {
            tracing::info!(route = matched.as_deref(), %error, "API request rejected");
            discard(request.into_body()).await;
            (String::new(), Problem::from(error).into_response())
        }
    };
    let outcome = outcome(&response);
    guard.metrics.api_requests.get_or_create(&ApiRequest::new(route, &key, outcome)).inc();
    let durations = guard.metrics.latency.api.get_or_create(&Route::new(route));
    durations.observe(began.elapsed().as_secs_f64());
    drop(durations);
    response
}

fn outcome(response: &Response) -> &'static str {
    response.extensions().get::<ProblemCode>().map_or("ok", |code| code.0)
}

/// The span of a permitted request: others cannot make the node send spans.
fn start_span(metrics: &Metrics, request: &Request, route: &str, key: &str) -> Option<Span> {
    let traceparent = request.headers().get(TRACEPARENT).map(HeaderValue::as_bytes);
    let mut span = metrics.tracer().request(route, traceparent)?;
    span.set("http.request.method", request.method().as_str());
    span.set("http.route", route);
    span.set("yamabiko.key", key);
    Some(span)
}

fn end_span(span: Option<Span>, response: &Response) {
    let Some(mut span) = span else { return };
    span.set_number("http.response.status_code", response.status().as_u16());
    let outcome = outcome(response);
    if outcome != "ok" {
        span.fail(outcome);
    }
}
