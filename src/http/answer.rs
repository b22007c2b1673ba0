use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::broker::PublishError;
use crate::message::InvalidChannelName;

/// `{"ok":true}`: the broker has it.
#[derive(Serialize)]
pub(super) struct Accepted {
    ok: bool,
}

impl Accepted {
    pub(super) const fn new() -> Self {
        Self { ok: true }
    }
}

/// A request that is not served: a status, and `{"error":{"code","message"}}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message", message)
    }

    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<PublishError> for Failure {
    fn from(refused: PublishError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", refused.to_string())
    }
}

impl From<InvalidChannelName> for Failure {
    fn from(invalid: InvalidChannelName) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_channel", invalid.to_string())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "invalid_json" };
        Self::new(status, code, rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": {"code": self.code, "message": self.message}}))).into_response()
    }
}
