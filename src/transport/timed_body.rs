use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// A request body with a deadline.
struct TimedBody {
    body: Incoming,
    time: Pin<Box<Sleep>>,
}

/// Sets a deadline for a body. A request without a body gets no timer.
pub(super) fn within(time: Duration, body: Incoming) -> Body {
    if body.is_end_stream() {
        Body::new(body)
    } else {
        Body::new(TimedBody { body, time: Box::pin(sleep(time)) })
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
        self.time.as_mut().poll(context).map(|()| Some(Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
