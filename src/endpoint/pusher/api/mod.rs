//! The HTTP API of the Pusher protocol: what Laravel's broadcaster and Pusher's server libraries call.
//!
//! A call is checked as a whole before anything of it is done: one that is answered 4xx has changed nothing. One that
//! is answered 200 has been accepted by the broker.

mod body;
mod handlers;
mod response;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};

use crate::auth::pusher::SignedRequest;
use crate::cluster::Cluster;
use crate::protocol::pusher::http::{
    HttpError, Target, authorize, authorize_head, health, max_body_bytes, parse, route,
};
use crate::telemetry::ApiCall;
use crate::transport::RequestedUri;
use crate::unix_time::unix_time;
use body::Incoming;
use response::{json, refusal};

/// The routes under `/apps/`, and `/up`.
pub(super) fn routes(cluster: Arc<Cluster>) -> Router {
    Router::new()
        .route("/apps/{*call}", any(call))
        .route("/up", get(|| async { json(health()) }))
        .with_state(cluster)
}

async fn call(State(cluster): State<Arc<Cluster>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut body = Incoming::new(body);
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let target = route(method, path);
    // The signature is over the path and the query as they are in the request line.
    let signed_path = head.extensions.get::<RequestedUri>().map_or(path, |requested| requested.0.path());
    // What is no endpoint's has one name, for anybody can ask for anything.
    let endpoint = target.as_ref().map_or("none", |target| target.route.endpoint());
    let request = SignedRequest { method, path: signed_path, query, body: b"" };
    let answered = match target {
        Ok(target) => answer(&cluster, &target, request, &mut body).await,
        Err(error) => Err(error),
    };
    let outcome = answered.as_ref().err().map_or("ok", |error| error.code);
    cluster.metrics().pusher_calls.get_or_create(&ApiCall::new(endpoint, outcome)).inc();
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
    cluster: &Cluster,
    target: &Target<'_>,
    request: SignedRequest<'_>,
    body: &mut Incoming,
) -> Result<Vec<u8>, HttpError> {
    let now = unix_time().as_secs();
    let app = authorize_head(cluster.apps(), target, &request, now)?;
    let body = body.read(max_body_bytes(&app.rules)).await?;
    let request = SignedRequest { body: &body, ..request };
    let app = authorize(cluster.apps(), target, &request, now)?;
    let command = parse(&target.route, request.query, &body, &app.rules)?;
    handlers::handle(cluster, app.credentials.id(), command).await
}
