use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::Frame as BodyFrame;

use super::Stream;
use crate::hub::Ending;
use crate::message::{CloseReason, Frame};
use crate::transport::{ConnectionHandler, ConnectionOptions, DisconnectReason};

/// When clients without a back-off of their own come back, in milliseconds. At random, because after a restart all of them do.
const RETRY: std::ops::Range<u32> = 1000..5000;

/// One connection of server-sent events. hyper polls it for as long as the client is there, and drops it then.
#[derive(Debug)]
pub(super) struct SseBody<H: ConnectionHandler> {
    handler: H,
    stream: Stream,
    options: Arc<ConnectionOptions>,
    /// Precedes everything else.
    greeting: Option<Bytes>,
    /// When the next comment is due. All times are seconds of the hub's clock.
    comment_at: u32,
    expires: u32,
}

impl<H: ConnectionHandler> SseBody<H> {
    /// `expires_at` is in Unix seconds.
    pub(super) fn new(
        handler: H,
        options: Arc<ConnectionOptions>,
        expires_at: Option<u64>,
        stream: Stream,
    ) -> Self {
        handler.outbox().defer();
        let (clock, interval) = (options.clock, options.ping_after);
        // The comment tells clients after how much silence the connection is dead, and the event where to send a new token.
        let retry = rand::random_range(RETRY);
        let greeting = format!(
            "retry: {retry}\n: heartbeat {interval}\n\nevent: connection\ndata: {{\"id\":\"{}\"}}\n\n",
            stream.name()
        );
        Self {
            handler,
            stream,
            options,
            greeting: Some(greeting.into()),
            comment_at: clock.now().saturating_add(interval),
            expires: expires_at.map_or(u32::MAX, |at| clock.at_unix(at)),
        }
    }

    /// Does what is due: a comment, the expiry, what the handler has to do.
    fn on_tick(&mut self, now: u32) {
        if now >= self.handler.next_tick() {
            self.handler.on_tick();
        }
        let outbox = self.handler.outbox();
        if now >= self.comment_at {
            self.comment_at = now.saturating_add(self.options.ping_after);
            // What is queued does as well.
            if outbox.is_flushed() {
                outbox.push(&Frame::comment("heartbeat"), self.options.bounds.outbox_bytes);
            }
        }
        if now >= self.expires {
            outbox.close_for(CloseReason::Expired);
        }
        outbox.set_alarm(self.comment_at.min(self.expires).min(self.handler.next_tick()));
    }

    /// Why the connection ends. A client cannot say that it leaves.
    fn reason(&self) -> DisconnectReason {
        self.handler.outbox().closed().map_or(DisconnectReason::Lost, DisconnectReason::Server)
    }
}

impl<H: ConnectionHandler> HttpBody for SseBody<H> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        if let Some(greeting) = body.greeting.take() {
            return Poll::Ready(Some(Ok(BodyFrame::data(greeting))));
        }
        body.handler.outbox().register(cx.waker());
        if let Some(renewal) = body.stream.take_renewal()
            && let Some(expires_at) = body.handler.on_renewal(renewal)
        {
            body.expires = body.options.clock.at_unix(expires_at);
        }
        body.on_tick(body.options.clock.now());
        body.handler.answer_inquiries();
        // Before the queue is looked at, because nothing is queued after an ending.
        let ending = body.handler.outbox().ending();
        if ending.is_some() {
            let reason = body.reason();
            body.handler.on_closing(reason);
        }
        match (body.handler.outbox().take(), ending) {
            (Some(block), _) => Poll::Ready(Some(Ok(BodyFrame::data(block)))),
            (None, Some(Ending::Closed(_) | Ending::Gone)) => Poll::Ready(None),
            (None, None) => Poll::Pending,
        }
    }
}

impl<H: ConnectionHandler> Drop for SseBody<H> {
    fn drop(&mut self) {
        self.handler.outbox().end();
        let reason = self.reason();
        self.handler.on_closing(reason);
        self.handler.on_disconnect(reason);
    }
}
