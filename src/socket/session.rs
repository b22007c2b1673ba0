use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::reader::{Bounds, ReadEnd, Reader};
use super::{Conversation, End, Heartbeat, HttpStream, Limits};
use crate::hub::{Connection, Ending, Flushed, Outbox};
use crate::message::{Close, Frame};

/// What all sessions of an edge have in common.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    bounds: Bounds,
    /// Seconds of silence before a ping.
    ping_after: u32,
    /// Seconds for its answer.
    pong_within: u32,
}

impl SessionOptions {
    /// Takes the settings; the heartbeat counts in whole seconds, one at least.
    #[must_use]
    pub fn new(limits: &Limits, heartbeat: &Heartbeat) -> Self {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        Self {
            bounds: Bounds { message_bytes: limits.message_bytes, outbox_bytes: limits.outbox_bytes },
            ping_after: seconds(heartbeat.interval),
            pong_within: seconds(heartbeat.timeout),
        }
    }
}

impl SessionOptions {
    /// The same for a protocol that has pings of its own: it judges who is not there, for an answer to either ping counts.
    #[must_use]
    pub(super) fn never_giving_up(self) -> Self {
        Self { pong_within: u32::MAX, ..self }
    }
}

/// Runs a connection in a task of its own, from the moment that the upgrade is through until it ends, or until
/// its token does: `expires_at` is in Unix seconds.
pub fn serve<C: Conversation>(
    upgrade: OnUpgrade,
    connection: Connection,
    conversation: C,
    options: Arc<SessionOptions>,
    expires_at: Option<u64>,
) {
    tokio::spawn(async move {
        let stream = upgrade.await.ok().and_then(|upgraded| upgraded.downcast::<TokioIo<HttpStream>>().ok());
        let Some(parts) = stream else {
            conversation.ended(End::Lost, &connection);
            return;
        };
        let stream = parts.io.into_inner().into_inner();
        // hyper's last waker would keep its finished task alive in the socket's slot.
        let _ = stream.poll_write_ready(&mut Context::from_waker(Waker::noop()));
        connection.outbox().attach(stream);
        let mut session = Session::new(connection, conversation, options, expires_at);
        if !parts.read_buf.is_empty() {
            let now = session.connection.clock().now();
            session.feed(&parts.read_buf, now);
        }
        // A task of its own, so that what the upgrade needed is not kept for the life of the connection.
        tokio::spawn(session);
    });
}

/// How long a closing handshake may take, in seconds.
const CLOSE_WITHIN: u32 = 5;

/// Reads of one turn, before others get theirs.
const READS_PER_TURN: usize = 16;

const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// One buffer for all connections of a thread: what is read is consumed before the next read.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// The one socket loop: a connection's task.
#[derive(Debug)]
struct Session<C: Conversation> {
    connection: Connection,
    conversation: C,
    options: Arc<SessionOptions>,
    reader: Reader,
    phase: Phase,
    pulse: Pulse,
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
        end: End,
        until: u32,
    },
    /// All is said: the connection goes when the outbox is empty, or then.
    Flushing {
        end: End,
        until: u32,
    },
    /// The client broke the protocol. What it sends is not read any more; its end of the stream is awaited, for
    /// a reset would overtake our close frame.
    Draining {
        end: End,
        until: u32,
        finished: bool,
    },
    Over(End),
}

impl<C: Conversation> Session<C> {
    fn new(
        connection: Connection,
        conversation: C,
        options: Arc<SessionOptions>,
        expires_at: Option<u64>,
    ) -> Self {
        let clock = connection.clock();
        let expires = expires_at.map_or(u32::MAX, |at| clock.at_unix(at));
        let (reader, phase, pulse) = (Reader::default(), Phase::Open, Pulse::Heard(clock.now()));
        Self { connection, conversation, options, reader, phase, pulse, answered: false, expires }
    }

    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    fn feed(&mut self, bytes: &[u8], now: u32) {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => {}
            Phase::Flushing { .. } | Phase::Draining { .. } | Phase::Over(_) => return,
        }
        let Self { connection, conversation, options, reader, phase, answered, .. } = self;
        let open = matches!(phase, Phase::Open);
        // The answers to all messages of these bytes share one write.
        connection.outbox().cork();
        let result = reader.feed(bytes, options.bounds, connection.outbox(), |message| {
            if open {
                conversation.receive(message, connection);
                *answered = true;
            }
        });
        let Err(end) = result else { return };
        let until = now.saturating_add(CLOSE_WITHIN);
        *phase = match (end, *phase) {
            (_, Phase::Closing { end, .. }) => Phase::Flushing { end, until },
            (ReadEnd::Closed(code), _) => {
                connection.outbox().end();
                Phase::Flushing { end: End::Client(code), until }
            }
            (ReadEnd::Failed(close), _) => {
                connection.outbox().close(close);
                Phase::Draining { end: End::Server(close), until, finished: false }
            }
        };
    }

    /// Reads what is there. Ready when the client has closed its side.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: u32) -> Poll<()> {
        let outbox = self.outbox().clone();
        let Some(stream) = outbox.sink() else { return Poll::Ready(()) };
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS_PER_TURN {
                match stream.poll_read_ready(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {}
                }
                match read_now(stream, buffer) {
                    Ok(0) => return Poll::Ready(()),
                    Ok(count) => {
                        self.pulse = Pulse::Heard(now);
                        self.conversation.heard();
                        self.feed(buffer.get(..count).unwrap_or_default(), now);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(()),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
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
                        self.phase = Phase::Over(End::HeartbeatTimeout);
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
            Some(Ending::Closed(close)) => self.phase = Phase::Closing { end: End::Server(close), until },
            Some(Ending::Gone) => self.phase = Phase::Over(End::Lost),
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
            Phase::Open => End::Lost,
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

    fn finish(&self, end: End) {
        self.outbox().end();
        if let Some(stream) = self.outbox().sink() {
            let socket = SockRef::from(stream);
            if matches!(end, End::Server(Close::SlowConsumer) | End::HeartbeatTimeout) {
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

impl<C: Conversation> Future for Session<C> {
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

/// One read. A read that does not fill the buffer has emptied the socket, which the runtime is told: it saves
/// the next read, which would only say so.
fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    let result = stream.try_io(Interest::READABLE, || {
        count = (&*SockRef::from(stream)).read(buffer)?;
        if count > 0 && count < buffer.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match result {
        Err(error) if count == 0 => Err(error),
        _ => Ok(count),
    }
}
