use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

/// Set by the proxy; see `deploy/nginx.conf`.
static RETRY_ON: HeaderName = HeaderName::from_static("x-retry-on");

/// A rejected handshake: an HTTP response that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.code` in the JSON body.
    pub code: &'static str,
    /// `error.message` in the JSON body: what is wrong and how to fix it.
    pub message: Cow<'static, str>,
}

impl Rejection {
    /// The path is a WebSocket endpoint, and the request does not ask for an upgrade.
    pub const UPGRADE_REQUIRED: Self = Self::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade_required",
        "this is a WebSocket address: connect with a WebSocket client",
    );
    const VERSION: Self = Self::new(
        StatusCode::UPGRADE_REQUIRED,
        "unsupported_version",
        "only version 13 of the WebSocket protocol is spoken here",
    );
    /// HTTP/1.0, which has no upgrades. It is nginx's default for upstreams.
    pub const HTTP_VERSION: Self = Self::new(
        StatusCode::UPGRADE_REQUIRED,
        "http_version",
        "a WebSocket handshake needs HTTP/1.1; a proxy in between has to speak it (nginx: proxy_http_version 1.1)",
    );
    const KEY: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "invalid_handshake",
        "Sec-WebSocket-Key must be 16 bytes in base64",
    );
    /// The page's origin is not in the list.
    pub const ORIGIN: Self = Self::new(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        "pages of this origin may not connect; see server.origins",
    );
    /// The server is shutting down.
    pub const DRAINING: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "going_away", "the server is shutting down; try again");

    /// The process has no file descriptors left.
    pub const NO_DESCRIPTORS: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "no_descriptors",
        "the server has no file descriptors left for more connections; try again later",
    );

    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message: Cow::Borrowed(message) }
    }

    /// The HTTP response.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let error = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = Response::new(Body::from(error.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

/// Whether the proxy announces with `X-Retry-On: 503` that it tries another node when this one responds with 503.
#[must_use]
pub fn retries_on_503(headers: &HeaderMap) -> bool {
    has_token(headers, &RETRY_ON, "503")
}

/// Whether a request asks for an upgrade to WebSocket.
pub(super) fn asks_for_upgrade(request: &Request<Body>) -> bool {
    request.method() == Method::GET
        && has_token(request.headers(), &header::CONNECTION, "upgrade")
        && has_token(request.headers(), &header::UPGRADE, "websocket")
}

/// Accepts a WebSocket handshake (RFC 6455, section 4.2): the 101 response, and the upgrade that completes when it has been
/// sent.
pub fn accept(request: &mut Request<Body>) -> Result<(Response<Body>, OnUpgrade), Rejection> {
    if !asks_for_upgrade(request) {
        return Err(Rejection::UPGRADE_REQUIRED);
    }
    let headers = request.headers();
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Rejection::VERSION);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Rejection::KEY)?;
    // 16 bytes are 22 characters of base64 and two of padding.
    let text = key.as_bytes();
    let characters = text.strip_suffix(b"==").ok_or(Rejection::KEY)?;
    if characters.len() != 22
        || !characters.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    {
        return Err(Rejection::KEY);
    }
    let accept = HeaderValue::from_str(&derive_accept_key(text)).map_err(|_| Rejection::KEY)?;
    let upgrade = hyper::upgrade::on(request);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((response, upgrade))
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}
