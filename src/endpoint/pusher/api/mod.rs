//! The HTTP API of the Pusher protocol, which Laravel's broadcaster and Pusher's server libraries call.
//!
//! A call is validated as a whole before it has any effect: a response of 4xx means that nothing has changed. 200 means that the
//! broker has accepted it.

mod handlers;
mod response;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::{any, get};

use super::PusherEndpoint;
use crate::auth::pusher::SignedRequest;
use crate::protocol::pusher::http::{
    HttpError, Target, authorize, authorize_head, health, max_body_bytes, parse, route,
};
use crate::telemetry::{ApiCall, Endpoint, Span};
use crate::trace_context::TRACEPARENT;
use crate::transport::{BodyError, RequestBody, RequestedUri};
use crate::unix_time::unix_time;
use response::{json, rejection};

/// Names a call that may be made again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The routes under `/apps/`, and `/up`.
pub(super) fn routes(endpoint: Arc<PusherEndpoint>) -> Router {
    Router::new()
        .route("/apps/{*call}", any(call))
        .route("/up", get(|| async { json(health()) }))
        .with_state(endpoint)
}

async fn call(State(pusher): State<Arc<PusherEndpoint>>, request: Request) -> Response {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let mut body = RequestBody::new(body);
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let target = route(method, path);
    // The signature covers the path and the query of the request line.
    let signed_path = head.extensions.get::<RequestedUri>().map_or(path, |requested| requested.0.path());
    // Unknown paths share one label, because clients can request any.
    let endpoint = target.as_ref().map_or("none", |target| target.route.endpoint());
    let request = SignedRequest { method, path: signed_path, query, body: b"" };
    let answered = match target {
        Ok(target) => {
            let header = |name| head.headers.get(name).map(HeaderValue::as_bytes);
            let key = header(IDEMPOTENCY_KEY);
            answer(&pusher, &target, request, key, header(TRACEPARENT), &mut body).await
        }
        Err(error) => Err(error),
    };
    let outcome = answered.as_ref().err().map_or("ok", |error| error.code);
    let metrics = pusher.channels().metrics();
    metrics.pusher_calls.get_or_create(&ApiCall::new(endpoint, outcome)).inc();
    let durations = metrics.latency.pusher_call.get_or_create_owned(&Endpoint::new(endpoint));
    durations.observe(began.elapsed().as_secs_f64());
    match answered {
        Ok(answered) => json(answered),
        Err(error) => {
            tracing::debug!(status = error.status, code = error.code, %method, "HTTP API call refused");
            body.discard().await;
            rejection(&error, method, path)
        }
    }
}

async fn answer(
    pusher: &PusherEndpoint,
    target: &Target<'_>,
    request: SignedRequest<'_>,
    idempotency_key: Option<&[u8]>,
    traceparent: Option<&[u8]>,
    body: &mut RequestBody,
) -> Result<Vec<u8>, HttpError> {
    let now = unix_time().as_secs();
    let served = pusher.served();
    let app = authorize_head(&served.apps, target, &request, now)?;
    let body = body.read(max_body_bytes(&app.rules)).await.map_err(unreadable)?;
    let request = SignedRequest { body: &body, ..request };
    let app = authorize(&served.apps, target, &request, now)?;
    // Only those with a valid signature can make the node send spans.
    let mut span = pusher.channels().metrics().tracer().request(target.route.endpoint(), traceparent);
    let trace = span.as_ref().map(Span::context);
    let answered = match parse(&target.route, request.query, idempotency_key, &body, &app.rules) {
        Ok(command) => handlers::handle(pusher.channels(), app, command, trace).await,
        Err(error) => Err(error),
    };
    if let Some(span) = &mut span {
        span.set("http.request.method", request.method);
        span.set("http.route", target.route.endpoint());
        span.set("yamabiko.app", &**app.credentials.id());
        span.set_number(
            "http.response.status_code",
            answered.as_ref().map_or_else(|error| error.status, |_| 200),
        );
        if let Err(error) = &answered {
            span.fail(error.code);
        }
    }
    answered
}

fn unreadable(error: BodyError) -> HttpError {
    match error {
        BodyError::TooLarge(_) => HttpError::too_large(format!("{error}; send fewer or smaller events")),
        BodyError::Timeout => HttpError::new(408, "timeout", error.to_string()),
        BodyError::Broken => HttpError::new(400, "bad_request", error.to_string()),
    }
}
