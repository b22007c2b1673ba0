use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// What the public port serves. `connect` answers WebSocket handshakes, `connect_pusher` those of
/// the Pusher protocol. `pusher` is the HTTP API of the apps.
/// `console` adds its pages, and a browser that opens the root is led to them.
pub fn public<C, P>(connect: C, connect_pusher: P, pusher: Router, console: Option<Router>) -> Router
where
    C: Fn(Request) -> Response<Body> + Clone + Send + Sync + 'static,
    P: Fn(Request) -> Response<Body> + Clone + Send + Sync + 'static,
{
    let has_console = console.is_some();
    let root = {
        let connect = connect.clone();
        move |request: Request| {
            let to_console = has_console && wants_page(request.headers());
            std::future::ready(if to_console {
                Redirect::temporary("/console").into_response()
            } else {
                connect(request)
            })
        }
    };
    let pusher_client = move |request: Request| std::future::ready(connect_pusher(request));
    Router::new()
        .route("/", get(root))
        .route("/ws", get(move |request: Request| std::future::ready(connect(request))))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/app", get(pusher_client.clone()))
        .route("/app/{*key}", get(pusher_client))
        .merge(pusher)
        .merge(console.unwrap_or_default())
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
}

/// Whether a person's browser asks, rather than a WebSocket client.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts_html = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    accepts_html && !headers.contains_key(header::UPGRADE)
}
