//! The queue of outgoing bytes of one connection: the only structure that both a shard and the connection's task touch.
//!
//! Invariants, each property-tested:
//!
//! * Bytes leave in the order in which they were pushed, each once, and no frame is interrupted by another.
//! * While bytes are queued, nothing overtakes them: a push appends and does not write.
//! * The queue is bounded by the limit (plus the rest of a block that is partly written, plus a close frame).
//! * Nothing follows the bytes of a close.

mod deferred;
mod state;
mod token;
mod unanswered;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;

use state::OutboxState;
use unanswered::Unanswered;

use super::WireFormat;
use super::sink::{DirectWrite, Sink};
use crate::message::{Close, CloseReason, Frame};

#[derive(Debug)]
pub struct Outbox<W = TcpStream> {
    /// Set when the upgrade is complete. Frames that are pushed before are queued.
    sink: OnceLock<Sink<W>>,
    format: &'static WireFormat,
    state: Mutex<OutboxState>,
    /// The task of the connection, which drains what a push could not write.
    task: AtomicWaker,
    /// The second of the hub's clock at which the sweep wakes the task.
    alarm: AtomicU32,
    unanswered: Unanswered,
    /// The token of the client.
    token: AtomicU64,
}

/// Why nothing more is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The bytes of this close are the last ones.
    Closed(&'static Close),
    /// The close frame of the client has been answered, or the connection is lost.
    Gone,
}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The frame is written or queued.
    Taken,
    /// The limit is exceeded: the queue is dropped, and the connection closes as a slow consumer.
    Overflow,
    /// The connection is closing or lost.
    Refused,
}

/// The state of the queue after a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    Empty,
    /// The sink takes no more for now.
    Blocked,
}

/// No limit lets more than this be queued.
const MAX_BYTES: usize = 1 << 31;

/// A queued block takes about this much memory however short it is, in bytes. Many empty pongs add up.
const BLOCK_COST: usize = 64;

/// This many blocks may be queued whatever the limit is.
const FREE_BLOCKS: usize = 64;

/// Slices of one vectored write. The kernel's limit is 1,024.
const MAX_SLICES: usize = 64;

impl<W: DirectWrite> Outbox<W> {
    /// An outbox that queues everything until it is attached to a connection.
    #[must_use]
    pub fn new(format: &'static WireFormat) -> Self {
        Self {
            sink: OnceLock::new(),
            format,
            state: Mutex::default(),
            task: AtomicWaker::new(),
            alarm: AtomicU32::new(u32::MAX),
            unanswered: Unanswered::default(),
            token: AtomicU64::default(),
        }
    }

    /// Writes to this stream from now on. Only the first call to this or [`defer`](Self::defer) has an effect.
    pub fn attach(&self, stream: W) -> Option<&W> {
        self.sink.get_or_init(|| Sink::Direct(stream));
        self.stream()
    }

    /// Leaves all writing to the task of the connection, which calls [`drain`](Self::drain).
    pub fn defer(&self) {
        self.sink.get_or_init(|| Sink::Deferred);
    }

    /// The stream that frames are written to directly.
    pub fn stream(&self) -> Option<&W> {
        match self.sink.get()? {
            Sink::Direct(stream) => Some(stream),
            Sink::Deferred => None,
        }
    }

    pub fn format(&self) -> &'static WireFormat {
        self.format
    }

    /// Writes a frame at once, or queues it if something is queued or the sink does not take it now.
    pub fn push(&self, frame: &Frame, limit: usize) -> Pushed {
        let bytes = frame.bytes();
        let mut state = self.lock();
        if state.is_ending() {
            return Pushed::Refused;
        }
        let mut written = 0;
        if state.queue.is_empty()
            && !state.corked
            && let Some(stream) = self.stream()
        {
            match stream.try_write(bytes) {
                Ok(count) if count == bytes.len() => return Pushed::Taken,
                Ok(count) => written = count,
                Err(error) if is_not_now(&error) => {}
                Err(_) => {
                    state.gone = true;
                    drop(state);
                    self.task.wake();
                    return Pushed::Refused;
                }
            }
        }
        let left = bytes.len() - written;
        if state.bytes as usize + left > limit.min(MAX_BYTES) || state.queue.len() >= max_blocks(limit) {
            if written > 0 {
                state.append(bytes.clone(), written);
            }
            self.overflow(state);
            return Pushed::Overflow;
        }
        let wake = state.queue.is_empty() && !state.corked;
        state.append(bytes.clone(), written);
        drop(state);
        if wake {
            self.task.wake();
        }
        Pushed::Taken
    }

    /// Closes the connection as a slow consumer: drops the queue, except for a block that is partly written.
    pub fn close_as_slow_consumer(&self) {
        let state = self.lock();
        if !state.is_ending() {
            self.overflow(state);
        }
    }

    fn overflow(&self, mut state: MutexGuard<'_, OutboxState>) {
        let close = self.format.closes.get(CloseReason::SlowConsumer);
        state.drop_queue();
        state.close(self.format.close_number(close), (self.format.encode_close)(close).into_bytes());
        drop(state);
        self.task.wake();
    }

    /// Closes the connection after what is queued. Returns false if it is ending already.
    pub fn close(&self, close: &'static Close) -> bool {
        let mut state = self.lock();
        if state.is_ending() {
            return false;
        }
        state.close(self.format.close_number(close), (self.format.encode_close)(close).into_bytes());
        drop(state);
        self.task.wake();
        true
    }

    /// Closes the connection with what its protocol sends for this reason.
    pub fn close_for(&self, reason: CloseReason) -> bool {
        self.close(self.format.closes.get(reason))
    }

    /// Queues a frame, the reply to the client's close, and accepts nothing more, so that nothing can follow it.
    pub fn end_with(&self, frame: &Frame) {
        let mut state = self.lock();
        if !state.is_ending() {
            state.append(frame.bytes().clone(), 0);
            state.gone = true;
        }
    }

    /// Accepts nothing more. What is queued can still be flushed.
    pub fn end(&self) {
        let mut state = self.lock();
        state.gone |= state.closed == 0;
    }

    /// Why nothing more is accepted, if so.
    pub fn ending(&self) -> Option<Ending> {
        let state = self.lock();
        if state.gone { Some(Ending::Gone) } else { self.format.close(state.closed).map(Ending::Closed) }
    }

    /// The close that ends or ended the connection, if the server closed it.
    pub fn closed(&self) -> Option<&'static Close> {
        self.format.close(self.lock().closed)
    }

    /// How many bytes are queued.
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes as usize
    }

    /// Whether everything that was pushed has been handed to the kernel.
    pub fn is_flushed(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Until the next [`flush`](Self::flush), pushes only append, so that they share one write.
    pub fn cork(&self) {
        self.lock().corked = true;
    }

    /// Writes what is queued, as far as the sink takes it now.
    pub fn flush(&self) -> io::Result<Flushed> {
        self.drain(|slices| match (self.stream(), slices) {
            (None, _) => Err(io::ErrorKind::WouldBlock.into()),
            (Some(stream), [only]) => stream.try_write(only),
            (Some(stream), several) => stream.try_write_vectored(several),
        })
    }

    /// Writes what is queued with `write`, as far as that takes it now. `write` must not wait: the outbox is locked.
    pub fn drain(
        &self,
        mut write: impl FnMut(&[io::IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Flushed> {
        let mut state = self.lock();
        state.corked = false;
        while let Some(first) = state.queue.front() {
            let result = if state.queue.len() == 1 {
                write(&[io::IoSlice::new(first)])
            } else {
                let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
                for (slice, bytes) in slices.iter_mut().zip(&state.queue) {
                    *slice = io::IoSlice::new(bytes);
                }
                write(slices.get(..state.queue.len()).unwrap_or(&slices))
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => state.advance(written),
                Err(error) if is_not_now(&error) => return Ok(Flushed::Blocked),
                Err(error) => {
                    state.gone = true;
                    return Err(error);
                }
            }
        }
        // An idle connection keeps no buffer.
        if state.queue.capacity() > 0 {
            state.queue = VecDeque::new();
        }
        Ok(Flushed::Empty)
    }

    /// Sets the task to wake when it has something to do.
    pub fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    pub fn wake(&self) {
        self.task.wake();
    }

    /// Counts a message of this many bytes that the client has sent to the broker, until [`answered`](Self::answered).
    pub fn asked(&self, bytes: usize) {
        self.unanswered.add(bytes);
    }

    /// The broker has answered a message of this many bytes.
    pub fn answered(&self, bytes: usize) {
        if self.unanswered.remove(bytes) {
            self.task.wake();
        }
    }

    /// Reads nothing from the client until [`resume_reading`](Self::resume_reading).
    pub fn pause_reading(&self) {
        self.unanswered.fill();
    }

    /// Ends a [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&self) {
        self.unanswered.unfill();
        self.task.wake();
    }

    /// Whether too much is unanswered to read more from the client. The task is woken when that changes.
    pub fn is_waiting(&self) -> bool {
        self.unanswered.is_full()
    }

    /// Makes the sweep wake the task at this second of the hub's clock. Replaces the previous alarm.
    pub fn set_alarm(&self, second: u32) {
        self.alarm.store(second, Ordering::Relaxed);
    }

    /// Wakes the task if its alarm is due.
    pub fn sweep(&self, now: u32) {
        if self.alarm.load(Ordering::Relaxed) <= now {
            self.task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // No code between lock and unlock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn max_blocks(limit: usize) -> usize {
    (limit / BLOCK_COST).max(FREE_BLOCKS)
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
