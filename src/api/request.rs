//! Reads requests, and turns every way in which one can be wrong into a problem.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};
use serde_json::error::Category;

use super::Problem;
use crate::transport::RequestBody;

/// The largest body, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// A body of JSON.
#[derive(Debug)]
pub(super) struct ApiJson<T>(pub(super) T);

/// The query of the URL.
#[derive(Debug)]
pub(super) struct ApiQuery<T>(pub(super) T);

/// The parameters in the path, decoded.
#[derive(Debug)]
pub(super) struct ApiPath<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        let read = if is_json(&head.headers) {
            body.read(MAX_BODY_BYTES).await.map_err(Problem::from)
        } else {
            Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, with the header `Content-Type: application/json`",
            ))
        };
        match read {
            Ok(bytes) => object_from_json(&bytes).map(Self),
            Err(problem) => {
                body.discard().await;
                Err(problem)
            }
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error: QueryRejection| {
            Problem::bad_request("invalid_query", reason(&error.body_text()))
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|error: PathRejection| Problem::bad_request("invalid_path", error.body_text()))
    }
}

/// What is wrong with a query, without how it was read.
fn reason(text: &str) -> String {
    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text).to_owned()
}

/// A number in a query.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| D::Error::custom("must be a whole number"))
}

/// Reads JSON: 400 for what is no JSON, 422 for JSON that is not what the request takes.
pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => Problem::invalid("invalid_request", error.to_string()),
        _ => Problem::bad_request("invalid_json", format!("the body is not valid JSON: {error}")),
    })
}

/// The same for an object: serde would also accept an array for a struct.
fn object_from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    if !text.trim_ascii_start().starts_with(b"{") {
        let _: serde::de::IgnoredAny = from_json(text)?;
        return Err(Problem::invalid("invalid_request", "the body must be a JSON object"));
    }
    from_json(text)
}

/// Reads and discards the body of a request that is rejected unread.
pub(super) async fn discard(body: Body) {
    RequestBody::new(body).discard().await;
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
