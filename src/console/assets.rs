use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Only files of this host are loaded, and they connect only to it. `ws:` and `wss:` are listed because browsers disagree on
/// whether 'self' covers them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /console`: the page.
pub(super) async fn page() -> Response {
    file(HTML, include_str!("page/console.html"))
}

/// `GET /console/guide`: troubleshooting.
pub(super) async fn guide() -> Response {
    file(HTML, include_str!("page/guide.html"))
}

/// `GET /console/assets/{name}`: a file of the page, or a snippet that it shows.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    macro_rules! page {
        ($name:literal) => {
            include_str!(concat!("page/", $name))
        };
    }
    macro_rules! snippet {
        ($name:literal) => {
            include_str!(concat!("../../docs/snippets/", $name))
        };
    }
    match name.as_str() {
        "console.css" => file(CSS, page!("console.css")),
        "icon.svg" => file(SVG, page!("icon.svg")),
        "before-paint.js" => file(JS, page!("before-paint.js")),
        "console.js" => file(JS, page!("console.js")),
        "api.js" => file(JS, page!("api.js")),
        "client.js" => file(JS, include_str!("../../clients/js/dist/index.js")),
        "connection.js" => file(JS, page!("connection.js")),
        "echo.js" => file(JS, page!("echo.js")),
        "echo-tab.js" => file(JS, page!("echo-tab.js")),
        "guide.js" => file(JS, page!("guide.js")),
        "job.js" => file(JS, page!("job.js")),
        "kinds.js" => file(JS, page!("kinds.js")),
        "publish.js" => file(JS, page!("publish.js")),
        "check.js" => file(JS, page!("check.js")),
        "snippets.js" => file(JS, page!("snippets.js")),
        "texts.js" => file(JS, page!("texts.js")),
        "user.js" => file(JS, page!("user.js")),
        "wire.js" => file(JS, page!("wire.js")),
        "browser.js" => file(TEXT, snippet!("browser.js")),
        "token.php" => file(TEXT, snippet!("token.php")),
        "progress.php" => file(TEXT, snippet!("progress.php")),
        "publish.php" => file(TEXT, snippet!("publish.php")),
        "echo.env" => file(TEXT, snippet!("echo.env")),
        // `echo.js` is one of the page's own files.
        "laravel-echo.js" => file(TEXT, snippet!("laravel-echo.js")),
        "broadcast.php" => file(TEXT, snippet!("broadcast.php")),
        "troubleshooting.md" => file(TEXT, include_str!("../../docs/troubleshooting.md")),
        "command-line.sh" => file(TEXT, snippet!("command-line.sh")),
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
