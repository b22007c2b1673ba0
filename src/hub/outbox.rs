//! The one piece that a shard and a connection's task both touch.
//!
//! Invariants, each property-tested:
//!
//! * Bytes leave in the order in which they were pushed, each once, and a frame is never cut in half by another.
//! * While something waits, nothing overtakes it: a push appends, it does not write.
//! * What waits is bounded by the limit (plus what a partly written block has left, plus a close frame).
//! * Once a close frame has been pushed, nothing follows it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;

use crate::message::{Close, Frame};

/// A thing that can be written to now, or not now (`WouldBlock`). It never waits.
pub trait Sink: Send + Sync {
    /// Writes some of the bytes and says how many.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes some of the first bytes of several slices and says how many.
    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

impl Sink for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }

    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        TcpStream::try_write_vectored(self, slices)
    }
}

/// Bytes on their way to one connection.
#[derive(Debug)]
pub struct Outbox<S = TcpStream> {
    /// Set once, when the upgrade is through; what is pushed before then waits.
    sink: OnceLock<S>,
    state: Mutex<State>,
    /// The connection's task, which drains what a push could not write.
    task: AtomicWaker,
    /// The second, on the hub's clock, at which the sweep wakes the task.
    alarm: AtomicU32,
    /// What the client has sent and the broker has not answered, in bytes.
    unanswered: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    /// How much of the first of `waiting` has been written.
    written: usize,
    /// How many bytes `waiting` has that were not written.
    bytes: usize,
    /// The connection's task is at work and will flush: pushes only append.
    corked: bool,
    ending: Option<Ending>,
    /// Whether close codes are those of the Pusher protocol.
    speaks_pusher: bool,
}

/// Why nothing more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its close frame was the last one.
    Closed(Close),
    /// The peer's close frame is answered, or its connection is gone.
    Gone,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is written, or it waits for the connection to take more.
    Taken,
    /// The limit is passed: what waited is dropped, and the connection closes as a slow consumer.
    Overflow,
    /// The connection is ending or gone.
    Refused,
}

/// What a flush left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits.
    Empty,
    /// The sink takes no more for now.
    Blocked,
}

/// A block that waits takes about so much memory however short it is, in bytes: many empty pongs are not little.
const BLOCK_COST: usize = 64;

/// So many blocks may wait in any case.
const FREE_BLOCKS: usize = 64;

/// With so many bytes unanswered a connection is not read: the broker's queue is one for all, and whoever sends after
/// others waits for all that they have in it.
const UNANSWERED: u32 = 64 * 1024;

/// A message counts for so many bytes more than it has, so that small ones are few, too.
const UNANSWERED_OVERHEAD: u32 = 512;

/// So many slices go into one vectored write; the kernel's limit is 1,024.
const MAX_SLICES: usize = 64;

impl<S: Sink> Outbox<S> {
    /// An empty outbox without a connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sink: OnceLock::new(),
            state: Mutex::default(),
            task: AtomicWaker::new(),
            alarm: AtomicU32::new(u32::MAX),
            unanswered: AtomicU32::new(0),
        }
    }

    /// Gives it the connection to write to. A second call changes nothing.
    pub fn attach(&self, sink: S) -> &S {
        self.sink.get_or_init(|| sink)
    }

    /// The connection, once there is one.
    pub fn sink(&self) -> Option<&S> {
        self.sink.get()
    }

    /// Writes a frame at once if nothing waits before it, or lets it wait; at most `limit` bytes may.
    pub fn push(&self, frame: &Frame, limit: usize) -> Pushed {
        let bytes = frame.bytes();
        let mut state = self.lock();
        if state.ending.is_some() {
            return Pushed::Refused;
        }
        let mut from = 0;
        if state.waiting.is_empty()
            && !state.corked
            && let Some(sink) = self.sink.get()
        {
            match sink.try_write(bytes) {
                Ok(written) if written == bytes.len() => return Pushed::Taken,
                Ok(written) => from = written,
                Err(error) if is_not_now(&error) => {}
                Err(_) => {
                    state.ending = Some(Ending::Gone);
                    drop(state);
                    self.task.wake();
                    return Pushed::Refused;
                }
            }
        }
        let left = bytes.len() - from;
        if state.bytes + left > limit || state.waiting.len() >= most_blocks(limit) {
            if from > 0 {
                state.keep(bytes.clone(), from);
            }
            state.overflow();
            drop(state);
            self.task.wake();
            return Pushed::Overflow;
        }
        let wake = state.waiting.is_empty() && !state.corked;
        state.keep(bytes.clone(), from);
        drop(state);
        if wake {
            self.task.wake();
        }
        Pushed::Taken
    }

    /// From now on a close is sent with the code that the Pusher protocol has for it.
    pub fn speak_pusher(&self) {
        self.lock().speaks_pusher = true;
    }

    /// Says goodbye: the close frame goes after what waits, and nothing after it.
    ///
    /// Returns false where the connection was ending already.
    pub fn close(&self, close: Close) -> bool {
        let mut state = self.lock();
        if state.ending.is_some() {
            return false;
        }
        let close = if state.speaks_pusher { close.in_pusher() } else { close };
        state.ending = Some(Ending::Closed(close));
        state.keep(Frame::close(close).bytes().clone(), 0);
        drop(state);
        self.task.wake();
        true
    }

    /// Takes nothing more; what waits may still be flushed.
    pub fn end(&self) {
        self.lock().ending.get_or_insert(Ending::Gone);
    }

    /// Why nothing more is taken, if so.
    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    /// Whether everything that was pushed has been handed to the kernel.
    pub fn is_flushed(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// From here to the next [`flush`](Self::flush), pushes only append, so that they share one write.
    pub fn cork(&self) {
        self.lock().corked = true;
    }

    /// Writes what waits, as far as the sink takes it.
    pub fn flush(&self) -> io::Result<Flushed> {
        let mut state = self.lock();
        state.corked = false;
        let Some(sink) = self.sink.get() else {
            return Ok(if state.waiting.is_empty() { Flushed::Empty } else { Flushed::Blocked });
        };
        while let Some(first) = state.waiting.front() {
            let head = first.get(state.written..).unwrap_or_default();
            let result = if state.waiting.len() == 1 {
                sink.try_write(head)
            } else {
                let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
                let all = std::iter::once(head).chain(state.waiting.iter().skip(1).map(|bytes| &bytes[..]));
                for (slice, bytes) in slices.iter_mut().zip(all) {
                    *slice = io::IoSlice::new(bytes);
                }
                sink.try_write_vectored(&slices)
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => state.advance(written),
                Err(error) if is_not_now(&error) => return Ok(Flushed::Blocked),
                Err(error) => {
                    state.ending = Some(Ending::Gone);
                    return Err(error);
                }
            }
        }
        // An idle connection keeps no buffer.
        if state.waiting.capacity() > 0 {
            state.waiting = VecDeque::new();
        }
        Ok(Flushed::Empty)
    }

    /// Names the task to wake when there is something for it to do.
    pub fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// A message of the client of so many bytes goes to the broker; [`answered`](Self::answered) is to be called when the
    /// broker has answered. Until then [`is_waiting`](Self::is_waiting) may hold.
    pub fn asked(&self, bytes: usize) {
        self.unanswered.fetch_add(unanswered_cost(bytes), Ordering::Relaxed);
    }

    /// The broker has answered a message of so many bytes.
    pub fn answered(&self, bytes: usize) {
        let cost = unanswered_cost(bytes);
        let before = self.unanswered.fetch_sub(cost, Ordering::Relaxed);
        if before >= UNANSWERED && before.saturating_sub(cost) < UNANSWERED {
            self.task.wake();
        }
    }

    /// Whether so much is unanswered that nothing more is read from the client. Its task is woken when that is over.
    pub fn is_waiting(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= UNANSWERED
    }

    /// Asks the sweep to wake the task at this second of the hub's clock. The last call counts.
    pub fn set_alarm(&self, second: u32) {
        self.alarm.store(second, Ordering::Relaxed);
    }

    /// Wakes the task if its alarm is due.
    pub fn sweep(&self, now: u32) {
        if self.alarm.load(Ordering::Relaxed) <= now {
            self.task.wake();
        }
    }

    /// The bytes that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<u8> {
        let state = self.lock();
        state.waiting.iter().flatten().copied().skip(state.written).collect()
    }

    /// How many blocks they are in.
    #[cfg(test)]
    pub(super) fn waiting_blocks(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code between lock and unlock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink> Default for Outbox<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Lets bytes wait, of which the first `written` are out.
    fn keep(&mut self, bytes: Bytes, written: usize) {
        if self.waiting.is_empty() {
            self.written = written;
        }
        self.bytes += bytes.len() - written;
        self.waiting.push_back(bytes);
    }

    /// Drops what waits, but for the block that is partly out, and says goodbye.
    fn overflow(&mut self) {
        let started = if self.written > 0 { self.waiting.pop_front() } else { None };
        let written = std::mem::take(&mut self.written);
        self.waiting.clear();
        self.bytes = 0;
        if let Some(started) = started {
            self.keep(started, written);
        }
        self.keep(Frame::close(Close::SlowConsumer).bytes().clone(), 0);
        self.ending = Some(Ending::Closed(Close::SlowConsumer));
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(first) = self.waiting.front() {
            let left = first.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.waiting.pop_front();
        }
    }
}

/// So many blocks may wait where so many bytes may.
fn most_blocks(limit: usize) -> usize {
    (limit / BLOCK_COST).max(FREE_BLOCKS)
}

fn unanswered_cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX / 2).saturating_add(UNANSWERED_OVERHEAD)
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
