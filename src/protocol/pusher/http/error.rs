use std::borrow::Cow;

use serde_json::json;
use thiserror::Error;

/// Why a request was refused: the status of the answer, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct HttpError {
    /// The status: 400, 401, 403, 404, 405, 408, 413 or 503.
    pub status: u16,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: Cow<'static, str>,
}

impl HttpError {
    /// A refusal with this status, code and message.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// What is asked for is not within the rules. Pusher answers such calls with 400, and its SDKs know no 422.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "invalid", message)
    }

    /// A body or an event that is over a limit.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(413, "too_large", message)
    }

    /// The body of the answer: `{"error":{"code":…,"message":…}}`.
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
