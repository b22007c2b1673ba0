use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::message::InvalidChannelName;

/// `{"ok":true}`: the request has been carried out.
#[derive(Debug, Serialize)]
pub struct Accepted {
    ok: bool,
}

impl Accepted {
    /// The one value.
    #[must_use]
    pub const fn new() -> Self {
        Self { ok: true }
    }
}

impl Default for Accepted {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a request of the operators' API or the console was rejected: a status, and `{"error":{"code","message"}}`.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// 403.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 422.
    #[must_use]
    pub fn invalid(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message", message)
    }

    /// 429.
    #[must_use]
    pub fn rate_limited(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
    }

    /// 503: the broker did not accept it.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// An explanation for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// 401.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<InvalidChannelName> for ApiError {
    fn from(invalid: InvalidChannelName) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_channel", invalid.to_string())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let code = match &rejection {
            _ if status == StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            // JSON, but not what the request takes.
            JsonRejection::JsonDataError(_) => "invalid_request",
            _ => "invalid_json",
        };
        Self::new(status, code, rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"yamabiko\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
