use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::document::{self, Document};
use super::guard::{Guard, guard};
use super::request::discard;
use super::{
    Access, ApiState, Problem, Scope, channels, connections, disconnect, history, key, log_level, members,
    nodes, page, publish, publish_batch, reload, revocations, tail, traffic, users,
};

/// The path of the API below the prefix of its port.
const ROOT: &str = "/api/v1";

/// The API of a port, under `prefix`. It responds with a problem to everything below its root that it does not know.
pub fn routes(state: Arc<ApiState>, access: &Access, prefix: &str) -> Router {
    let prefix = prefix.trim_end_matches('/');
    let base = format!("{prefix}{ROOT}");
    let metrics = state.channels.shared_metrics();
    let guarded = |scope: Option<Scope>, routes: OpenApiRouter<Arc<ApiState>>| {
        let access = access.clone();
        routes.route_layer(from_fn_with_state(Guard { access, scope, metrics: metrics.clone() }, guard))
    };
    let publishing =
        OpenApiRouter::new().routes(routes!(publish::publish)).routes(routes!(publish_batch::publish_batch));
    let closing = OpenApiRouter::new().routes(routes!(disconnect::disconnect));
    let revoking =
        OpenApiRouter::new().routes(routes!(revocations::list, revocations::revoke, revocations::restore));
    let reloading = OpenApiRouter::new()
        .routes(routes!(reload::reload))
        .routes(routes!(log_level::change, log_level::restore));
    let reading = OpenApiRouter::new()
        .routes(routes!(channels::channels))
        .routes(routes!(channels::channel))
        .routes(routes!(members::members))
        .routes(routes!(history::history))
        .routes(routes!(connections::connections))
        .routes(routes!(connections::connection))
        .routes(routes!(users::users))
        .routes(routes!(users::user))
        .routes(routes!(nodes::nodes))
        .routes(routes!(tail::tail))
        .routes(routes!(traffic::traffic))
        .routes(routes!(log_level::show));
    let (router, api) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(guarded(Some(Scope::Publish), publishing))
        .merge(guarded(Some(Scope::Disconnect), closing))
        .merge(guarded(Some(Scope::Read), reading))
        .merge(guarded(Some(Scope::Revoke), revoking))
        .merge(guarded(Some(Scope::Reload), reloading))
        .merge(guarded(None, OpenApiRouter::new().routes(routes!(key::key))))
        .split_for_parts();
    let document: Arc<str> = document::text(api, &base).into();
    let page: Arc<str> = page::render(&document).into();
    let router = router
        .route("/openapi.json", get(move || ready(text("application/json", &document))))
        .route("/docs", get(move || ready(text("text/html; charset=utf-8", &page))))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state);
    Router::new().nest(&base, router).route(&format!("{base}/"), any(not_found))
}

/// The document and its page say nothing about the installation, so that they need no key.
fn text(content_type: &'static str, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text.to_owned()).into_response()
}

async fn not_found(request: Request) -> Problem {
    discard(request.into_body()).await;
    Problem::not_found("not_found", "there is nothing at this path: see docs and openapi.json of the API")
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} is not possible here: see the header Allow", request.method());
    discard(request.into_body()).await;
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
