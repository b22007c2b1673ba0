use std::error::Error;
use std::io;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::protocol::pusher::http::HttpError;

/// How much of a rejected body is read and discarded, in bytes.
const DISCARDED: usize = 4 * 1024 * 1024;

/// A request body that is being received. The listener ends it with an error if it takes too long.
pub(super) struct RequestBody(Body);

impl RequestBody {
    pub(super) fn new(body: Body) -> Self {
        Self(body)
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) async fn read(&mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let announced = self.0.size_hint();
        if announced.lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(too_large(limit));
        }
        let mut read = Vec::new();
        while let Some(chunk) = self.next().await? {
            if chunk.len() > limit.saturating_sub(read.len()) {
                return Err(too_large(limit));
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    /// Reads and discards the rest, within bounds.
    pub(super) async fn discard(&mut self) {
        let mut left = DISCARDED;
        while let Ok(Some(chunk)) = self.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                // Trailers are not part of the body.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) if is_timeout(&error) => {
                    return Err(HttpError::new(408, "timeout", "the body did not arrive in time"));
                }
                Some(Err(_)) => {
                    return Err(HttpError::new(400, "bad_request", "the body broke off or is malformed"));
                }
            }
        }
    }
}

fn is_timeout(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large(limit: usize) -> HttpError {
    HttpError::too_large(format!("the body has more than {limit} bytes; send fewer or smaller events"))
}
