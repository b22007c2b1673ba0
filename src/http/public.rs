use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use tower::ServiceExt as _;

use super::path::{not_found, tolerate};

/// What the public port serves. `connect` answers WebSocket handshakes, `connect_pusher` those of
/// the Pusher protocol. `pusher` is the HTTP API of the apps.
/// `console` adds its pages, and whoever opens the root is led to them.
pub fn public<C, P>(connect: C, connect_pusher: P, pusher: Router, console: Option<Router>) -> Router
where
    C: Fn(Request) -> Response<Body> + Clone + Send + Sync + 'static,
    P: Fn(Request) -> Response<Body> + Clone + Send + Sync + 'static,
{
    let has_console = console.is_some();
    let root = {
        let connect = connect.clone();
        move |request: Request| {
            std::future::ready(if is_handshake(&request) {
                connect(request)
            } else if has_console {
                Redirect::temporary("/console").into_response()
            } else {
                // The health checks of clouds ask here, and take 200 only.
                "Yamabiko is here: connect with a WebSocket client\n".into_response()
            })
        }
    };
    let pusher_client = move |request: Request| std::future::ready(connect_pusher(request));
    let routes = Router::new()
        .route("/", get(root))
        .route("/ws", get(move |request: Request| std::future::ready(connect(request))))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/app", get(pusher_client.clone()))
        .route("/app/{*key}", get(pusher_client))
        .merge(pusher)
        .merge(console.unwrap_or_default())
        .fallback(not_found);
    // Around the routes, not among them: what a layer changes comes too late for them.
    Router::new().fallback_service(routes.map_request(tolerate))
}

/// Whether a request is meant as a WebSocket handshake, also where a proxy has taken its `Upgrade` away: then its
/// answer says what is missing.
fn is_handshake(request: &Request) -> bool {
    let headers = request.headers();
    let has_token = || {
        let query = request.uri().query().unwrap_or_default();
        headers.contains_key(header::AUTHORIZATION)
            || form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "token")
    };
    headers.contains_key(header::UPGRADE) || headers.contains_key(header::SEC_WEBSOCKET_KEY) || has_token()
}
