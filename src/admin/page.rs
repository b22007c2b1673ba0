//! The operators' page. It needs no key and contains nothing: what it shows, it reads from the API with the key of its user.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

/// Only files of this host are loaded, and they connect only to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// `GET /`: to the page, also behind a proxy that serves the port under a path.
pub(super) async fn redirect() -> Redirect {
    Redirect::temporary("operators")
}

/// `GET /operators`: the page.
pub(super) async fn page() -> Response {
    file(HTML, include_str!("page/operators.html"))
}

/// `GET /operators/assets/{name}`: a file of the page.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    macro_rules! page {
        ($name:literal) => {
            include_str!(concat!("page/", $name))
        };
    }
    match name.as_str() {
        "operators.css" => file(CSS, page!("operators.css")),
        "views.css" => file(CSS, page!("views.css")),
        "icon.svg" => file(SVG, include_str!("../console/page/icon.svg")),
        "before-paint.js" => file(JS, include_str!("../console/page/before-paint.js")),
        "operators.js" => file(JS, page!("operators.js")),
        "api.js" => file(JS, page!("api.js")),
        "channel.js" => file(JS, page!("channel.js")),
        "charts.js" => file(JS, page!("charts.js")),
        "closing.js" => file(JS, page!("closing.js")),
        "elements.js" => file(JS, page!("elements.js")),
        "figures.js" => file(JS, page!("figures.js")),
        "lists.js" => file(JS, page!("lists.js")),
        "logs.js" => file(JS, page!("logs.js")),
        "overview.js" => file(JS, page!("overview.js")),
        "publish.js" => file(JS, page!("publish.js")),
        "tail.js" => file(JS, page!("tail.js")),
        "texts.js" => file(JS, page!("texts.js")),
        "user.js" => file(JS, page!("user.js")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Another build of the server may have another page.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, content).into_response()
}
