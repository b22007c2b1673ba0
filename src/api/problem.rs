use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::AccessError;
use crate::broker::{PublishError, StoreError};
use crate::message::{InvalidChannelName, InvalidSocketId};
use crate::protocol::pusher::http::HttpError;
use crate::transport::{ApiError, BodyError};

/// Why a request was rejected (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:yamabiko:problem:CODE`.
    #[serde(rename = "type")]
    #[schema(example = "urn:yamabiko:problem:invalid_channel")]
    kind: String,
    /// The name of the status.
    #[schema(value_type = String, example = "Unprocessable Entity")]
    title: &'static str,
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, example = 422)]
    status: StatusCode,
    /// What is wrong, for people.
    #[schema(value_type = String, example = "a channel name must not be empty")]
    detail: Cow<'static, str>,
    /// A stable name, for programs.
    #[schema(value_type = String, example = "invalid_channel")]
    code: &'static str,
}

/// The code of a problem, as an extension of its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProblemCode(pub(super) &'static str);

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: format!("urn:yamabiko:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default(),
            status,
            detail: detail.into(),
            code,
        }
    }

    /// 400: not what the server can read.
    pub(super) fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404.
    pub(super) fn not_found(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 422: it can be read, but says what cannot be done.
    pub(super) fn invalid(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 413.
    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 503: it may work later.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = (self.status, self.code);
        let mut response = (status, Json(self)).into_response();
        response.extensions_mut().insert(ProblemCode(code));
        let mut set = |name: HeaderName, value: &'static str| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, "application/problem+json");
        set(header::CACHE_CONTROL, "no-store");
        match status {
            StatusCode::UNAUTHORIZED => set(header::WWW_AUTHENTICATE, "Bearer realm=\"yamabiko\""),
            StatusCode::SERVICE_UNAVAILABLE => set(header::RETRY_AFTER, "1"),
            // The rest of the body would be read as the next request.
            StatusCode::REQUEST_TIMEOUT => set(header::CONNECTION, "close"),
            _ => {}
        }
        response
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let (status, code) = match &error {
            AccessError::NoKey => (StatusCode::UNAUTHORIZED, "no_key"),
            AccessError::UnknownKey => (StatusCode::UNAUTHORIZED, "unknown_key"),
            AccessError::MissingScope { .. } => (StatusCode::FORBIDDEN, "missing_scope"),
            AccessError::NoKeys => (StatusCode::FORBIDDEN, "no_keys"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self::new(error.status(), error.code(), error.message().to_owned())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge(_) => Self::too_large(detail),
            BodyError::Timeout => Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail),
            BodyError::Broken => Self::bad_request("bad_request", detail),
        }
    }
}

impl From<InvalidChannelName> for Problem {
    fn from(error: InvalidChannelName) -> Self {
        Self::invalid("invalid_channel", error.to_string())
    }
}

impl From<InvalidSocketId> for Problem {
    fn from(error: InvalidSocketId) -> Self {
        Self::invalid("invalid_connection", error.to_string())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        Self::unavailable(format!("{error}: send it again"))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(format!("{error}: ask again"))
    }
}

/// The rules of the Pusher protocol.
impl From<HttpError> for Problem {
    fn from(error: HttpError) -> Self {
        match error.status {
            413 => Self::too_large(error.message),
            _ => Self::invalid("invalid_message", error.message),
        }
    }
}

/// The problems that every request may lead to, for the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only describes the responses")]
pub(super) enum Problems {
    /// The request cannot be read, or a parameter is invalid.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// There is no key in the request, or no such key in the settings.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] Problem),
    /// The key lacks the scope, or there are no keys in the settings.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// The request says what cannot be done. Nothing has changed.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Redis cannot be reached, or too much is queued: send the request again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_body() {
        let problem = Problem::from(InvalidChannelName::Empty);
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"urn:yamabiko:problem:invalid_channel","title":"Unprocessable Entity","status":422,"detail":"a channel name must not be empty","code":"invalid_channel"}"#
        );
    }

    #[test]
    fn a_missing_key_names_the_scheme_and_an_outage_the_time_to_wait() {
        let header = |problem: Problem, name: &str| {
            let response = problem.into_response();
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            response.headers()[name].to_str().unwrap().to_owned()
        };
        assert_eq!(header(AccessError::NoKey.into(), "www-authenticate"), "Bearer realm=\"yamabiko\"");
        assert_eq!(header(PublishError::Unreachable.into(), "retry-after"), "1");
    }
}
