use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::protocol::pusher::http::{HttpError, route};

/// 200 with this JSON.
pub(super) fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response to a rejected call.
pub(super) fn rejection(error: &HttpError, method: &str, path: &str) -> Response<Body> {
    let mut response = json(error.body());
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = if method != "GET" && route("GET", path).is_ok() { "GET" } else { "POST" };
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The rest of the body would be read as the next request.
        StatusCode::REQUEST_TIMEOUT => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}
