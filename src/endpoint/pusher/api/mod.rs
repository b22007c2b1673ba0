//! The HTTP API of the Pusher protocol: what Laravel's broadcaster and Pusher's server libraries call.
//!
//! A call is checked as a whole before anything of it is done: one that is answered 4xx has changed nothing. One that
//! is answered 200 has been accepted by the broker.

mod body;
mod handlers;
mod response;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};

use super::PusherEndpoint;
use crate::auth::pusher::Request as Signed;
use crate::protocol::pusher::http::{
    HttpError, Target, authorize, authorize_head, health, max_body_bytes, parse, route,
};
use crate::telemetry::Call;
use crate::transport::RequestedUri;
use body::Incoming;
use response::{json, refusal};

/// The routes under `/apps/`, and `/up`.
pub(super) fn routes(endpoint: Arc<PusherEndpoint>) -> Router {
    Router::new()
        .route("/apps/{*call}", any(call))
        .route("/up", get(|| async { json(health()) }))
        .with_state(endpoint)
}

async fn call(State(pusher): State<Arc<PusherEndpoint>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut body = Incoming::new(body);
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let target = route(method, path);
    // The signature is over the path and the query as they are in the request line.
    let signed_path = head.extensions.get::<RequestedUri>().map_or(path, |requested| requested.0.path());
    // What is no endpoint's has one name, for anybody can ask for anything.
    let endpoint = target.as_ref().map_or("none", |target| target.route.endpoint());
    let request = Signed { method, path: signed_path, query, body: b"" };
    let answered = match target {
        Ok(target) => answer(&pusher, &target, request, &mut body).await,
        Err(error) => Err(error),
    };
    let outcome = answered.as_ref().err().map_or("ok", |error| error.code);
    pusher.channels().metrics().pusher_calls.get_or_create(&Call::new(endpoint, outcome)).inc();
    match answered {
        Ok(answered) => json(answered),
        Err(error) => {
            tracing::debug!(status = error.status, code = error.code, %method, "HTTP API call refused");
            // Closed on while it still writes, a client would see a broken connection and not the answer.
            body.discard().await;
            refusal(&error, method, path)
        }
    }
}

async fn answer(
    pusher: &PusherEndpoint,
    target: &Target<'_>,
    request: Signed<'_>,
    body: &mut Incoming,
) -> Result<Vec<u8>, HttpError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let app = authorize_head(pusher.apps(), target, &request, now)?;
    let body = body.read(max_body_bytes(&app.rules)).await?;
    let request = Signed { body: &body, ..request };
    let app = authorize(pusher.apps(), target, &request, now)?;
    let command = parse(&target.route, request.query, &body, &app.rules)?;
    handlers::handle(pusher.channels(), app.credentials.id(), command).await
}
