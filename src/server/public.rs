use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use tower::ServiceExt as _;

use crate::transport::{normalize, not_found};

/// Everything that the public port serves: the routes of the endpoints and the console, a health check, and 404.
pub(super) fn public(routes: Router) -> Router {
    let routes = routes.route("/healthz", get(|| async { "ok\n" })).fallback(not_found);
    // Wrapped around the router: a layer inside it would run after the route is chosen.
    Router::new().fallback_service(routes.map_request(normalize))
}

/// The response to `GET /` that is no handshake.
pub(super) fn landing(has_console: bool) -> Response {
    if has_console {
        Redirect::temporary("/console").into_response()
    } else {
        // Health checks of cloud providers ask here and accept only 200.
        "Yamabiko is here: connect with a WebSocket client\n".into_response()
    }
}
