//! What lets pages of other origins read the responses of an endpoint and send to it. The endpoint has checked their origin.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// Lets the page that has sent these headers read the response. Without an `Origin`, nothing is changed.
pub fn allow_origin(request: &HeaderMap, response: &mut Response<Body>) {
    let Some(origin) = request.get(header::ORIGIN) else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}

/// Answers a browser that asks what a page of this origin may send.
#[must_use]
pub fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow_origin(request, &mut response);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, last-event-id"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
