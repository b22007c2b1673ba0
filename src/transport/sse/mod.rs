//! Server-sent events: a connection as a response without an end.
//!
//! hyper writes to the socket, so that the outbox of such a connection is deferred: its frames are queued, and the body of the response
//! takes them out whenever hyper has room.

mod body;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};

use super::{ConnectionHandler, ConnectionOptions};
use body::SseBody;

pub use streams::{Stream, Streams};

/// nginx does not buffer a response with this header.
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Marks a response without an end for the listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endless {
    /// How long the client may take to acknowledge what it is sent. There are no pongs to wait for.
    pub(super) acknowledge_within: Duration,
}

/// Runs a connection as the body of a response, until it ends or its token expires. `expires_at` is in Unix seconds; a new token that
/// reaches the `stream` changes it.
#[must_use]
pub fn stream_events<H: ConnectionHandler>(
    handler: H,
    options: Arc<ConnectionOptions>,
    expires_at: Option<u64>,
    stream: Stream,
) -> Response<Body> {
    let acknowledge_within = Duration::from_secs(options.pong_within.into());
    let mut response = Response::new(Body::new(SseBody::new(handler, options, expires_at, stream)));
    response.extensions_mut().insert(Endless { acknowledge_within });
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies must neither keep nor compress it.
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (ACCEL_BUFFERING.clone(), "no"),
        // A connection that has had no place among those that speak HTTP gets no further request.
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
