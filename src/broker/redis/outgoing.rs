use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::READ_FIRST;
use super::names::Names;
use crate::broker::budget::cost;
use crate::broker::envelope::{self, NodeId};
use crate::broker::{PublishError, Receipt};
use crate::message::{Dispatch, Position};

/// One trip to Redis takes no more than this, so that it stays short for everybody else there.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;
/// Refused numbers that are remembered, in case their copies arrive after all.
const REMEMBERED: usize = 65_536;

/// What this node publishes, from the caller's hand until its own copy is back or its time is over.
///
/// Invariants:
/// * `entries` are in order of acceptance, numbered from `first` without a gap; so are their deadlines.
/// * Those before `unsent` were handed to the publisher, or refused.
/// * A receipt is taken out under the lock and called after it. All but the refusals within `publish` are
///   called by the one task that runs both connections: that is why an acknowledgement cannot be overtaken
///   by the message's own copy.
pub(super) struct Outgoing {
    pub(super) node: NodeId,
    names: Arc<Names>,
    /// How long a sender waits for its receipt.
    patience: Duration,
    /// How many bytes may wait.
    limit: usize,
    state: Mutex<State>,
    /// Something is to be sent.
    pub(super) queued: Notify,
    /// There is a first deadline where there was none.
    started: Notify,
    /// Nothing is left.
    pub(super) emptied: Notify,
}

struct State {
    closed: Option<Arc<str>>,
    entries: VecDeque<Entry>,
    first: u64,
    unsent: u64,
    bytes: usize,
    refused: BTreeSet<u64>,
}

struct Entry {
    receipt: Option<Receipt>,
    deadline: Instant,
    topic: Arc<[u8]>,
    /// Empty once it was handed to the publisher.
    payload: Vec<u8>,
    cost: usize,
    /// Its own copy comes back and can be told by its envelope.
    returns: bool,
    done: bool,
}

/// A message on its way to Redis.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) seq: u64,
    pub(super) deadline: Instant,
    pub(super) topic: Arc<[u8]>,
    pub(super) payload: Vec<u8>,
}

/// What an own copy means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    Deliver,
    /// Its sender has been told that it was not sent.
    Refused,
}

impl Outgoing {
    pub(super) fn new(patience: Duration, limit: usize, names: Arc<Names>) -> Self {
        let state = State {
            closed: Some("connecting to Redis".into()),
            entries: VecDeque::new(),
            first: 0,
            unsent: 0,
            bytes: 0,
            refused: BTreeSet::new(),
        };
        Self {
            node: NodeId::random(),
            names,
            patience,
            limit,
            state: Mutex::new(state),
            queued: Notify::new(),
            started: Notify::new(),
            emptied: Notify::new(),
        }
    }

    pub(super) fn publish(&self, dispatch: Dispatch, receipt: Receipt) {
        let cost = cost(&dispatch);
        // Written before the lock is taken; only the number is missing.
        let (topic, mut payload, returns) = match dispatch {
            Dispatch::Event(event) => {
                (self.names.events.clone(), envelope::begin_event(&event, &self.node), true)
            }
            Dispatch::Signal(body) => {
                (self.names.signals.clone(), envelope::begin_signal(&body, &self.node), true)
            }
            Dispatch::Topic { topic, payload } => (self.names.of(&topic).into(), payload.into(), false),
        };
        let first = {
            let mut state = self.lock();
            let refused = if state.closed.is_some() {
                Some(PublishError::Unreachable)
            } else if state.bytes > 0 && state.bytes + cost > self.limit {
                Some(PublishError::QueueFull)
            } else {
                None
            };
            if let Some(refused) = refused {
                drop(state);
                return receipt(Err(refused));
            }
            if returns {
                envelope::finish(&mut payload, state.next());
            }
            state.bytes += cost;
            let deadline = Instant::now() + self.patience;
            let entry =
                Entry { receipt: Some(receipt), deadline, topic, payload, cost, returns, done: false };
            state.entries.push_back(entry);
            state.entries.len() == 1
        };
        self.queued.notify_one();
        if first {
            self.started.notify_one();
        }
    }

    /// Why nothing is accepted now, if so.
    pub(super) fn closed(&self) -> Option<Arc<str>> {
        self.lock().closed.clone()
    }

    pub(super) fn open(&self) {
        self.lock().closed = None;
    }

    /// Accepts nothing more until [`Outgoing::open`].
    pub(super) fn close(&self, reason: &str) {
        self.lock().closed = Some(reason.into());
    }

    /// What is to be sent next, in order. None of it is returned twice.
    pub(super) fn batch(&self) -> Vec<Sending> {
        let mut state = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let seq = state.unsent;
            let Some(entry) = state.entry(seq) else { break };
            if entry.receipt.is_some() {
                let payload = std::mem::take(&mut entry.payload);
                bytes += payload.len();
                batch.push(Sending { seq, deadline: entry.deadline, topic: entry.topic.clone(), payload });
            }
            state.unsent += 1;
        }
        batch
    }

    /// Redis published it.
    pub(super) fn accepted(&self, seq: u64) {
        self.settle(seq, Ok(None), false);
    }

    /// It was not published, and will not be.
    pub(super) fn refused(&self, seq: u64, why: PublishError) {
        self.settle(seq, Err(why), true);
    }

    /// Its copy arrived, which is a receipt as good as Redis's answer.
    pub(super) fn arrived(&self, seq: u64) -> Copy {
        self.settle(seq, Ok(None), true);
        if self.lock().refused.remove(&seq) { Copy::Refused } else { Copy::Deliver }
    }

    /// Refuses what no publisher has taken yet.
    pub(super) fn refuse_unsent(&self) {
        let unsent = {
            let mut state = self.lock();
            let unsent = state.unsent..state.next();
            state.unsent = unsent.end;
            unsent
        };
        for seq in unsent {
            self.refused(seq, PublishError::Unreachable);
        }
    }

    /// Refuses all that is left, at the very end.
    pub(super) fn refuse_all(&self, why: PublishError) {
        let all = {
            let mut state = self.lock();
            state.unsent = state.next();
            state.first..state.next()
        };
        for seq in all {
            self.refused(seq, why);
        }
    }

    /// Refuses, for ever, what was not settled in time.
    pub(super) async fn expire(&self) {
        loop {
            let next = self.lock().entries.front().map(|entry| entry.deadline);
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => self.started.notified().await,
            }
            let due = Instant::now();
            // Redis's answer may lie in the socket, unread, because the process stood still.
            sleep(READ_FIRST).await;
            self.refuse_late(due);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn refuse_late(&self, now: Instant) {
        loop {
            let seq = {
                let mut state = self.lock();
                match state.entries.front() {
                    Some(entry) if entry.deadline <= now => {}
                    _ => return,
                }
                let seq = state.first;
                let awaited =
                    state.entries.front().is_some_and(|entry| entry.returns && entry.receipt.is_some());
                // Unsent, it will never be; sent, its copy may come yet.
                if awaited && seq < state.unsent {
                    state.refused.insert(seq);
                    if state.refused.len() > REMEMBERED {
                        state.refused.pop_first();
                    }
                }
                seq
            };
            self.refused(seq, PublishError::TimedOut);
        }
    }

    fn settle(&self, seq: u64, outcome: Result<Option<Position>, PublishError>, done: bool) {
        let (receipt, emptied) = {
            let mut state = self.lock();
            let Some(entry) = state.entry(seq) else { return };
            entry.done |= done || !entry.returns;
            let receipt = entry.receipt.take();
            if receipt.is_some() {
                let cost = entry.cost;
                state.bytes = state.bytes.saturating_sub(cost);
            }
            while state.entries.front().is_some_and(|entry| entry.done) {
                state.entries.pop_front();
                state.first += 1;
            }
            state.unsent = state.unsent.max(state.first);
            (receipt, state.entries.is_empty())
        };
        if let Some(receipt) = receipt {
            receipt(outcome);
        }
        if emptied {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn entry(&mut self, seq: u64) -> Option<&mut Entry> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }
}

#[cfg(test)]
mod tests;
