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

use super::bucket::{Bucket, Rate};
use super::message_reader::{MessageReader, ReadEnd};
use super::read_buffer::read;
use super::{ConnectionHandler, ConnectionOptions, DisconnectReason};
use crate::hub::{Connection, Ending, Flushed, Outbox};
use crate::message::{Close, Frame};

/// How long a closing handshake may take, in seconds.
const CLOSE_WITHIN: u32 = 5;

/// Frames of one turn, before others get theirs.
const FRAMES_PER_TURN: u32 = 64;

/// Bytes of one turn, and somewhat more.
const BYTES_PER_TURN: usize = 128 * 1024;

/// The one socket loop: a connection's task.
#[derive(Debug)]
pub(super) struct ConnectionTask<C: ConnectionHandler> {
    connection: Connection,
    conversation: C,
    options: Arc<ConnectionOptions>,
    reader: MessageReader,
    /// What the connection may still send.
    bucket: Bucket,
    phase: Phase,
    pulse: Pulse,
    /// It is over its rate: what it sent is not read until it may speak again.
    throttled: bool,
    /// Messages were answered in the last turn, and the answers wait for this one: a sender's own copy is likely to be
    /// delivered in between, and then it shares the write of its acknowledgement.
    answered: bool,
    /// When the token has expired. This and all times are seconds of the hub's clock.
    expires: u32,
}

/// The last sign of life, and what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    /// Something came from the client then.
    Heard(u32),
    /// A ping was sent then, and nothing came since.
    Pinged(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our close frame is out or on its way; the client's is awaited until then.
    Closing {
        end: DisconnectReason,
        until: u32,
    },
    /// All is said: the connection goes when the outbox is empty, or then.
    Flushing {
        end: DisconnectReason,
        until: u32,
    },
    /// The client broke the protocol. What it sends is not read any more; its end of the stream is awaited, for
    /// a reset would overtake our close frame.
    Draining {
        end: DisconnectReason,
        until: u32,
        finished: bool,
    },
    Over(DisconnectReason),
}

impl<C: ConnectionHandler> ConnectionTask<C> {
    pub(super) fn new(
        connection: Connection,
        conversation: C,
        options: Arc<ConnectionOptions>,
        expires_at: Option<u64>,
    ) -> Self {
        let clock = connection.clock();
        let expires = expires_at.map_or(u32::MAX, |at| clock.at_unix(at));
        let bucket = options.rate.as_ref().map(Rate::bucket).unwrap_or_default();
        Self {
            connection,
            conversation,
            options,
            reader: MessageReader::default(),
            bucket,
            phase: Phase::Open,
            pulse: Pulse::Heard(clock.now()),
            throttled: false,
            answered: false,
            expires,
        }
    }

    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    /// Takes bytes of at most so many frames. Returns how many bytes it took.
    fn feed(&mut self, bytes: &[u8], frames: &mut u32, now: u32) -> usize {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => {}
            Phase::Flushing { .. } | Phase::Draining { .. } | Phase::Over(_) => {
                // What is thrown away is no faster read than what counts.
                *frames = frames.saturating_sub(1);
                return bytes.len();
            }
        }
        self.pulse = Pulse::Heard(now);
        self.conversation.heard();
        let Self { connection, conversation, options, reader, phase, answered, .. } = self;
        let open = matches!(phase, Phase::Open);
        // The answers to all messages of these bytes share one write.
        connection.outbox().cork();
        let result = reader.feed(bytes, frames, options.bounds, connection.outbox(), |message| {
            if open {
                conversation.receive(message, connection);
                *answered = true;
            }
        });
        let end = match result {
            Ok(used) => return used,
            Err(end) => end,
        };
        let until = now.saturating_add(CLOSE_WITHIN);
        *phase = match (end, *phase) {
            (_, Phase::Closing { end, .. }) => Phase::Flushing { end, until },
            (ReadEnd::Closed(code), _) => {
                connection.outbox().end();
                Phase::Flushing { end: DisconnectReason::Client(code), until }
            }
            (ReadEnd::Failed(close), _) => {
                connection.outbox().close(close);
                Phase::Draining { end: DisconnectReason::Server(close), until, finished: false }
            }
        };
        self.reader = MessageReader::default();
        bytes.len()
    }

    /// Keeps what was read already.
    pub(super) fn keep(&mut self, unread: Bytes) {
        self.reader.keep(unread);
    }

    /// Reads what is there, as far as the connection may speak. Ready when the client has closed its side.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: u32) -> Poll<()> {
        let outbox = self.outbox().clone();
        let Some(stream) = outbox.sink() else { return Poll::Ready(()) };
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
                // It is there; its messages wait for the broker's answers to the others.
                self.pulse = Pulse::Heard(now);
                return Poll::Pending;
            }
            if frames == 0 || bytes == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let rate = self.options.rate;
            let allowed = rate.map_or(frames, |rate| rate.available(&mut self.bucket).min(frames));
            if allowed == 0 && self.reader.payload() == 0 {
                return self.poll_throttle(cx);
            }
            let mut left = allowed;
            if self.reader.has_unread() {
                let mut unread = self.reader.take_unread();
                let used = self.feed(&unread, &mut left, now);
                unread.advance(used);
                bytes = bytes.saturating_sub(used);
                self.reader.keep(unread);
            } else {
                let read = read(stream, self.reader.payload(), |read| {
                    bytes = bytes.saturating_sub(read.len());
                    let used = self.feed(read, &mut left, now);
                    self.reader.keep(Bytes::copy_from_slice(read.get(used..).unwrap_or_default()));
                });
                match read {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(()),
                    Ok(()) => {}
                }
            }
            frames -= allowed - left;
            Rate::spend(&mut self.bucket, allowed - left);
        }
    }

    /// Leaves what the client has sent where it is, until it may speak again. Ready when it is the end that has come.
    fn poll_throttle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let outbox = self.outbox().clone();
        let (Some(rate), Some(stream)) = (&self.options.rate, outbox.sink()) else { return Poll::Pending };
        if !self.reader.has_unread() {
            let mut byte = [MaybeUninit::uninit()];
            match stream.poll_peek(cx, &mut ReadBuf::uninit(&mut byte)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
            }
        }
        self.reader.pause(rate.refill_time(self.bucket));
        if !std::mem::replace(&mut self.throttled, true) {
            self.conversation.throttled(&self.connection);
        }
        if self.reader.poll_pause(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Does what the time demands.
    fn keep_time(&mut self, now: u32) {
        match self.phase {
            Phase::Open => {
                if now >= self.conversation.next_tick() && self.conversation.tick() {
                    self.pulse = Pulse::Pinged(now);
                }
                match self.pulse {
                    Pulse::Heard(at) if now >= at.saturating_add(self.options.ping_after) => {
                        self.outbox().push(&Frame::ping(), self.options.bounds.outbox_bytes);
                        self.pulse = Pulse::Pinged(now);
                    }
                    Pulse::Pinged(at) if now >= at.saturating_add(self.options.pong_within) => {
                        self.phase = Phase::Over(DisconnectReason::HeartbeatTimeout);
                        return;
                    }
                    Pulse::Heard(_) | Pulse::Pinged(_) => {}
                }
                if now >= self.expires {
                    self.outbox().close(Close::TokenExpired);
                }
            }
            Phase::Closing { end, until }
            | Phase::Flushing { end, until }
            | Phase::Draining { end, until, .. } => {
                if now >= until {
                    self.phase = Phase::Over(end);
                }
            }
            Phase::Over(_) => {}
        }
    }

    /// Notices that the hub has closed the connection, or that a write failed.
    fn notice_ending(&mut self, now: u32) {
        if self.phase != Phase::Open {
            return;
        }
        let until = now.saturating_add(CLOSE_WITHIN);
        match self.outbox().ending() {
            None => {}
            Some(Ending::Closed(close)) => {
                self.phase = Phase::Closing { end: DisconnectReason::Server(close), until }
            }
            Some(Ending::Gone) => self.phase = Phase::Over(DisconnectReason::Lost),
        }
    }

    /// Writes what waits; arranges to be woken when the socket takes more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) {
        let outbox = self.outbox().clone();
        let Some(stream) = outbox.sink() else { return };
        loop {
            match outbox.flush() {
                Ok(Flushed::Empty) => {
                    match self.phase {
                        Phase::Flushing { end, .. } => self.phase = Phase::Over(end),
                        Phase::Draining { end, until, finished: false } => {
                            let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
                            self.phase = Phase::Draining { end, until, finished: true };
                        }
                        _ => {}
                    }
                    return;
                }
                Ok(Flushed::Blocked) => match stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return self.lost(),
                    Poll::Pending => return,
                },
                Err(_) => return self.lost(),
            }
        }
    }

    /// The stream is at an end: what was under way decides what that means.
    fn lost(&mut self) {
        self.phase = Phase::Over(match self.phase {
            Phase::Open => DisconnectReason::Lost,
            Phase::Closing { end, .. }
            | Phase::Flushing { end, .. }
            | Phase::Draining { end, .. }
            | Phase::Over(end) => end,
        });
    }

    fn set_alarm(&self) {
        let alarm = match self.phase {
            Phase::Open => {
                let heartbeat = match self.pulse {
                    Pulse::Heard(at) => at.saturating_add(self.options.ping_after),
                    Pulse::Pinged(at) => at.saturating_add(self.options.pong_within),
                };
                heartbeat.min(self.expires).min(self.conversation.next_tick())
            }
            Phase::Closing { until, .. } | Phase::Flushing { until, .. } | Phase::Draining { until, .. } => {
                until
            }
            Phase::Over(_) => return,
        };
        self.outbox().set_alarm(alarm);
    }

    fn finish(&self, end: DisconnectReason) {
        self.outbox().end();
        if let Some(stream) = self.outbox().sink() {
            let socket = SockRef::from(stream);
            if matches!(
                end,
                DisconnectReason::Server(Close::SlowConsumer) | DisconnectReason::HeartbeatTimeout
            ) {
                // Nobody reads what the kernel still holds for it.
                let _ = socket.set_linger(Some(Duration::ZERO));
            } else {
                // At once, although a receipt may hold the outbox a little longer.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        self.conversation.ended(end, &self.connection);
    }
}

impl<C: ConnectionHandler> Future for ConnectionTask<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        session.outbox().register(cx.waker());
        // A turn is short: one look at the clock does for all of it.
        let now = session.connection.clock().now();
        let waited = std::mem::take(&mut session.answered);
        let at_end = session.poll_read(cx, now).is_ready();
        session.keep_time(now);
        session.notice_ending(now);
        if session.phase != Phase::Open {
            session.conversation.closing();
        }
        if session.answered && !waited && !at_end && session.phase == Phase::Open {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        session.answered = false;
        session.poll_flush(cx);
        if at_end {
            session.lost();
        }
        if let Phase::Over(end) = session.phase {
            session.finish(end);
            return Poll::Ready(());
        }
        session.set_alarm();
        Poll::Pending
    }
}
