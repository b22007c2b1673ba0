use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::ReadBuf;

use super::connection_phase::{Cause, Phase};
use super::message_reader::{Incoming, MessageReader, ReadEnd};
use super::read_buffer::read;
use super::{ConnectionHandler, ConnectionOptions, DisconnectReason};
use crate::hub::{Clock, Ending, Flushed, Outbox};
use crate::message::{CloseReason, Frame, TokenBucket};

/// How long a closing handshake may take, in seconds.
const CLOSE_WITHIN: u32 = 5;

/// Maximum frames per turn, so that one connection does not starve the others.
const FRAMES_PER_TURN: u32 = 64;

/// Bytes after which a turn ends; the last read may exceed it.
const BYTES_PER_TURN: usize = 128 * 1024;

/// One WebSocket connection: reads, hands messages to the handler, keeps the heartbeat, and flushes the outbox. A single
/// hand-written future, because it is most of what an idle connection costs.
#[derive(Debug)]
pub(super) struct ConnectionTask<H: ConnectionHandler> {
    handler: H,
    options: Arc<ConnectionOptions>,
    reader: MessageReader,
    /// The client's message rate.
    bucket: TokenBucket,
    phase: Phase,
    /// The second at which the client last sent something, or was sent a ping that it has not answered. Not an enum, which would
    /// make the task larger: see [`serve`](super::serve::serve).
    seen: u32,
    is_pinged: bool,
    /// The client is over its rate: what it has sent is not read until the bucket has refilled.
    throttled: bool,
    /// Messages were handled in the last turn, and their replies are held until this one: a sender's own copy is likely to be
    /// delivered in between, and then shares a write with the reply.
    holds_replies: bool,
    /// When the token expires; a renewal changes it. All times are seconds of the hub's clock.
    expires: u32,
}

impl<H: ConnectionHandler> ConnectionTask<H> {
    /// `expires_at` is in Unix seconds.
    pub(super) fn new(handler: H, options: Arc<ConnectionOptions>, expires_at: Option<u64>) -> Self {
        let clock = options.clock;
        let expires = expires_at.map_or(u32::MAX, |at| clock.at_unix(at));
        let bucket = options.rate.map(|rate| rate.full_bucket(clock.millis())).unwrap_or_default();
        Self {
            handler,
            options,
            reader: MessageReader::default(),
            bucket,
            phase: Phase::Open,
            seen: clock.now(),
            is_pinged: false,
            throttled: false,
            holds_replies: false,
            expires,
        }
    }

    /// Keeps bytes that were read before the upgrade.
    pub(super) fn keep(&mut self, unread: Bytes) {
        self.reader.keep(unread);
    }

    fn outbox(&self) -> &Arc<Outbox> {
        self.handler.outbox()
    }

    /// Takes the bytes of at most `frames` frames. Returns how many bytes it took.
    fn feed(&mut self, bytes: &[u8], frames: &mut u32, outbox: &Outbox, now: u32) -> usize {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => {}
            Phase::Flushing { .. } | Phase::Draining { .. } | Phase::Over(_) => {
                // Discarded bytes are limited by the rate as well.
                *frames = frames.saturating_sub(1);
                return bytes.len();
            }
        }
        (self.seen, self.is_pinged) = (now, false);
        self.handler.on_activity();
        let Self { handler, options, reader, phase, holds_replies, expires, .. } = self;
        let open = matches!(phase, Phase::Open);
        // The replies to all messages of these bytes share one write.
        outbox.cork();
        let result = reader.feed(bytes, frames, options.bounds, outbox, |incoming| match incoming {
            Incoming::Message(message) if open => {
                if let Some(at) = handler.on_message(message) {
                    *expires = options.clock.at_unix(at);
                }
                *holds_replies = true;
            }
            Incoming::Pong(payload) if open => handler.on_pong(&payload),
            Incoming::Message(_) | Incoming::Pong(_) => {}
        });
        let end = match result {
            Ok(used) => return used,
            Err(end) => end,
        };
        let until = now.saturating_add(CLOSE_WITHIN);
        *phase = match (end, *phase) {
            (_, Phase::Closing { cause, .. }) => Phase::Flushing { cause, until },
            (ReadEnd::Closed(code), _) => Phase::Flushing { cause: Cause::Client(code), until },
            (ReadEnd::Failed(close), _) => {
                outbox.close(close);
                Phase::Draining { cause: Cause::Server, until, finished: false }
            }
        };
        self.reader = MessageReader::default();
        bytes.len()
    }

    /// Reads what has arrived, as far as the rate permits. `millis` is the time. Ready when the client has closed its side.
    fn poll_read(&mut self, cx: &mut Context<'_>, millis: u64) -> Poll<()> {
        let now = Clock::second(millis);
        let outbox = self.outbox().clone();
        let Some(stream) = outbox.stream() else { return Poll::Ready(()) };
        if self.reader.poll_pause(cx).is_pending() {
            return Poll::Pending;
        }
        let (mut frames, mut bytes) = (FRAMES_PER_TURN, BYTES_PER_TURN);
        loop {
            if !self.reader.has_unread() {
                match stream.poll_read_ready(cx) {
                    Poll::Pending => {
                        self.throttled = false;
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {}
                }
            }
            if outbox.is_waiting() {
                // The client is alive; it is read again when the broker has acknowledged its earlier messages.
                (self.seen, self.is_pinged) = (now, false);
                return Poll::Pending;
            }
            if frames == 0 || bytes == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let rate = self.options.rate;
            let allowed = rate.map_or(frames, |rate| self.bucket.available(rate, millis).min(frames));
            if allowed == 0 && self.reader.payload() == 0 {
                return self.poll_throttle(cx);
            }
            let mut left = allowed;
            if self.reader.has_unread() {
                let mut unread = self.reader.take_unread();
                let used = self.feed(&unread, &mut left, &outbox, now);
                unread.advance(used);
                bytes = bytes.saturating_sub(used);
                self.reader.keep(unread);
            } else {
                let read = read(stream, self.reader.payload(), |read| {
                    bytes = bytes.saturating_sub(read.len());
                    let used = self.feed(read, &mut left, &outbox, now);
                    self.reader.keep(Bytes::copy_from_slice(read.get(used..).unwrap_or_default()));
                });
                match read {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(()),
                    Ok(()) => {}
                }
            }
            frames -= allowed - left;
            self.bucket.spend(allowed - left);
        }
    }

    /// Leaves what the client has sent in the socket until the bucket has refilled. Ready when the client has closed its side.
    fn poll_throttle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let outbox = self.outbox().clone();
        let (Some(rate), Some(stream)) = (self.options.rate, outbox.stream()) else { return Poll::Pending };
        if !self.reader.has_unread() {
            let mut byte = [MaybeUninit::uninit()];
            match stream.poll_peek(cx, &mut ReadBuf::uninit(&mut byte)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
            }
        }
        self.reader.pause(self.bucket.refill_time(rate));
        if !std::mem::replace(&mut self.throttled, true) {
            self.handler.on_throttled();
        }
        if self.reader.poll_pause(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Does what is due: pings, timeouts, expiry.
    fn on_tick(&mut self, now: u32) {
        match self.phase {
            Phase::Open => {
                if now >= self.handler.next_tick() && self.handler.on_tick() {
                    (self.seen, self.is_pinged) = (now, true);
                }
                if now >= self.heartbeat_at() {
                    if self.is_pinged {
                        self.phase = Phase::Over(Cause::HeartbeatTimeout);
                        return;
                    }
                    self.outbox().push(&Frame::ping(), self.options.bounds.outbox_bytes);
                    (self.seen, self.is_pinged) = (now, true);
                }
                if now >= self.expires {
                    self.outbox().close_for(CloseReason::Expired);
                }
            }
            Phase::Closing { cause, until }
            | Phase::Flushing { cause, until }
            | Phase::Draining { cause, until, .. } => {
                if now >= until {
                    self.phase = Phase::Over(cause);
                }
            }
            Phase::Over(_) => {}
        }
    }

    /// Starts the closing handshake if the outbox has been closed, and ends the connection if a write failed.
    fn check_closed(&mut self, now: u32) {
        if self.phase != Phase::Open {
            return;
        }
        let until = now.saturating_add(CLOSE_WITHIN);
        match self.outbox().ending() {
            None => {}
            Some(Ending::Closed(_)) => self.phase = Phase::Closing { cause: Cause::Server, until },
            Some(Ending::Gone) => self.phase = Phase::Over(Cause::Lost),
        }
    }

    /// Writes what is queued, and registers to be woken when the socket is writable again.
    fn poll_flush(&mut self, cx: &mut Context<'_>) {
        let outbox = self.outbox().clone();
        let Some(stream) = outbox.stream() else { return };
        loop {
            match outbox.flush() {
                Ok(Flushed::Empty) => {
                    match self.phase {
                        Phase::Flushing { cause, .. } => self.phase = Phase::Over(cause),
                        Phase::Draining { cause, until, finished: false } => {
                            let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
                            self.phase = Phase::Draining { cause, until, finished: true };
                        }
                        _ => {}
                    }
                    return;
                }
                Ok(Flushed::Blocked) => match stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return self.on_stream_end(),
                    Poll::Pending => return,
                },
                Err(_) => return self.on_stream_end(),
            }
        }
    }

    /// The stream has ended: whether that is a loss depends on the phase.
    fn on_stream_end(&mut self) {
        self.phase = Phase::Over(self.phase.cause().unwrap_or(Cause::Lost));
    }

    /// When the next ping is due, or the reply to the last one.
    fn heartbeat_at(&self) -> u32 {
        self.seen.saturating_add(if self.is_pinged {
            self.options.pong_within
        } else {
            self.options.ping_after
        })
    }

    fn set_alarm(&self) {
        let alarm = match self.phase {
            Phase::Open => self.heartbeat_at().min(self.expires).min(self.handler.next_tick()),
            Phase::Closing { until, .. } | Phase::Flushing { until, .. } | Phase::Draining { until, .. } => {
                until
            }
            Phase::Over(_) => return,
        };
        self.outbox().set_alarm(alarm);
    }

    fn reason(&self, cause: Cause) -> DisconnectReason {
        match cause {
            Cause::Client(code) => DisconnectReason::Client(code),
            Cause::Server => self.outbox().closed().map_or(DisconnectReason::Lost, DisconnectReason::Server),
            Cause::HeartbeatTimeout => DisconnectReason::HeartbeatTimeout,
            Cause::Lost => DisconnectReason::Lost,
        }
    }

    fn finish(&self, cause: Cause) {
        let outbox = self.outbox();
        outbox.end();
        let reason = self.reason(cause);
        if let Some(stream) = outbox.stream() {
            let socket = SockRef::from(stream);
            let slow_consumer =
                DisconnectReason::Server(outbox.format().closes.get(CloseReason::SlowConsumer));
            if [slow_consumer, DisconnectReason::HeartbeatTimeout].contains(&reason) {
                // The client does not read, so that the kernel need not keep what it has buffered.
                let _ = socket.set_linger(Some(Duration::ZERO));
            } else {
                // Explicitly, because a pending receipt may keep the outbox alive a little longer.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        self.handler.on_disconnect(reason);
    }
}

impl<H: ConnectionHandler> Future for ConnectionTask<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        task.outbox().register(cx.waker());
        // A turn is short, so that it reads the clock once.
        let millis = task.options.clock.millis();
        let now = Clock::second(millis);
        task.handler.answer_inquiries();
        let held_replies = std::mem::take(&mut task.holds_replies);
        let at_end = task.poll_read(cx, millis).is_ready();
        task.on_tick(now);
        task.check_closed(now);
        if let Some(cause) = task.phase.cause() {
            let reason = task.reason(cause);
            task.handler.on_closing(reason);
        }
        if task.holds_replies && !held_replies && !at_end && task.phase == Phase::Open {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        task.holds_replies = false;
        task.poll_flush(cx);
        if at_end {
            task.on_stream_end();
        }
        if let Phase::Over(cause) = task.phase {
            let reason = task.reason(cause);
            task.handler.on_closing(reason);
            task.finish(cause);
            return Poll::Ready(());
        }
        task.set_alarm();
        Poll::Pending
    }
}
