use std::error::Error;
use std::io;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use thiserror::Error;

/// How much of a rejected body is read and discarded, in bytes.
const DISCARDED: usize = 4 * 1024 * 1024;

/// A request body that is being received. The listener ends it with an error if it takes too long.
#[derive(Debug)]
pub struct RequestBody(Body);

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("the body broke off or is malformed")]
    Broken,
}

impl RequestBody {
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self(body)
    }

    /// The whole body, of at most `limit` bytes.
    pub async fn read(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let announced = self.0.size_hint();
        if announced.lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge(limit));
        }
        let mut read = Vec::new();
        while let Some(chunk) = self.next().await? {
            if chunk.len() > limit.saturating_sub(read.len()) {
                return Err(BodyError::TooLarge(limit));
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    /// Reads and discards the rest, within bounds. If the connection were closed while the client is still writing, the client would
    /// not see the response.
    pub async fn discard(&mut self) {
        let mut left = DISCARDED;
        while let Ok(Some(chunk)) = self.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                // Trailers are not part of the body.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) if is_timeout(&error) => return Err(BodyError::Timeout),
                Some(Err(_)) => return Err(BodyError::Broken),
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
