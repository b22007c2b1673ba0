use std::borrow::Cow;

use serde_json::json;
use thiserror::Error;

/// The response to a rejected request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct HttpError {
    /// 400, 401, 403, 404, 405, 408, 413 or 503.
    pub status: u16,
    /// A stable identifier for programs.
    pub code: &'static str,
    /// An explanation for developers, with the fix where there is one.
    pub message: Cow<'static, str>,
}

impl HttpError {
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// The request violates a rule. The status is 400, which Pusher uses for such calls, because its SDKs do not know 422.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "invalid", message)
    }

    /// A body or an event exceeds a limit.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(413, "too_large", message)
    }

    /// The body of the response: `{"error":{"code":…,"message":…}}`.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        json!({ "error": { "code": self.code, "message": self.message } }).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_body() {
        let body = HttpError::invalid("name is missing").body();
        assert_eq!(body, br#"{"error":{"code":"invalid","message":"name is missing"}}"#);
    }
}
