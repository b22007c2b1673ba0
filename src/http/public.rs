use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::socket::NativeEndpoint;

/// What the public port serves. `console` adds its pages, and a browser that opens the root is led to them.
pub fn public(native: Arc<NativeEndpoint>, console: Option<Router>) -> Router {
    let root = if console.is_some() { get(root_or_console) } else { get(connect) };
    Router::new()
        .route("/", root)
        .route("/ws", get(connect))
        .with_state(native)
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(console.unwrap_or_default())
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
}

async fn connect(State(native): State<Arc<NativeEndpoint>>, request: Request) -> Response<Body> {
    native.connect(request)
}

async fn root_or_console(State(native): State<Arc<NativeEndpoint>>, request: Request) -> Response<Body> {
    if wants_page(request.headers()) {
        return Redirect::temporary("/console").into_response();
    }
    native.connect(request)
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepts_html = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    accepts_html && !headers.contains_key(header::UPGRADE)
}
