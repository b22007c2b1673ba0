use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::timeouts::READ_AFTER_DEADLINE;
use super::topic_names::TopicNames;
use crate::broker::budget::cost;
use crate::broker::envelope::{self, NodeId};
use crate::broker::{PublishError, Receipt};
use crate::message::{Dispatch, Position, Publication, Retained};

/// Limits of one batch, so that a batch does not block Redis for its other clients.
const MAX_BATCH_MESSAGES: usize = 256;
/// In how many histories the messages of a batch are stored. One message may exceed it.
const MAX_BATCH_RETAINED: usize = 512;
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Maximum timed-out messages to remember, in case their copies arrive after all.
const MAX_REMEMBERED: usize = 65_536;

/// The messages that this node publishes, each from [`PublishQueue::publish`] until its own copy is back or its deadline
/// has passed.
///
/// Invariants:
/// * `entries` are in order of acceptance, numbered from `first` without a gap. Their deadlines are in the same order.
/// * Entries before `unsent` were handed to the publisher or refused.
/// * A receipt is taken out under the lock and called after releasing it. Except for refusals within `publish`, the one
///   task that runs both connections calls all receipts, so that a message's own copy cannot overtake its receipt.
pub(super) struct PublishQueue {
    pub(super) node: NodeId,
    names: Arc<TopicNames>,
    /// How long a sender waits for its receipt.
    timeout: Duration,
    /// Maximum bytes that wait for their receipts.
    max_bytes: usize,
    state: Mutex<QueueState>,
    /// There are messages to send.
    pub(super) queued: Notify,
    /// `entries` is no longer empty.
    first_entry: Notify,
    /// `entries` has become empty.
    pub(super) emptied: Notify,
}

struct QueueState {
    /// Why nothing is accepted.
    closed: Option<Arc<str>>,
    entries: VecDeque<QueueEntry>,
    first: u64,
    unsent: u64,
    bytes: usize,
    /// Messages that were sent, and refused because they timed out.
    timed_out: BTreeSet<u64>,
}

struct QueueEntry {
    receipt: Option<Receipt>,
    deadline: Instant,
    topic: Arc<[u8]>,
    /// Empty once the publisher has taken it.
    payload: Vec<u8>,
    cost: usize,
    /// Its copy comes back with this node's number in its envelope.
    has_copy: bool,
    /// `None` once the publisher has taken it.
    storage: Option<Box<Storage>>,
    /// It has a storage. Its copy is delivered even after its sender was refused: it may be in a history.
    is_stored: bool,
    is_done: bool,
}

/// How a message is stored when it is published.
#[derive(Debug)]
pub(super) struct Storage {
    /// Each channel once.
    pub(super) retained: Vec<Retained>,
    pub(super) idempotency_key: Option<Arc<str>>,
    /// It is as if it had been published under this key as well.
    pub(super) second_key: Option<Arc<str>>,
}

/// A message for the publisher to send.
#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub(super) seq: u64,
    pub(super) deadline: Instant,
    pub(super) topic: Arc<[u8]>,
    /// Without its final brace if it has a storage.
    pub(super) payload: Vec<u8>,
    /// `None` for a message that is only published.
    pub(super) storage: Option<Box<Storage>>,
}

/// What to do with the copy of a message of this node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnCopy {
    Deliver {
        /// When this node accepted the message.
        accepted: Option<std::time::Instant>,
    },
    /// Its sender was informed that it was not sent.
    Discard,
}

impl OwnCopy {
    pub(super) fn accepted(self) -> Option<std::time::Instant> {
        match self {
            Self::Deliver { accepted } => accepted,
            Self::Discard => None,
        }
    }
}

impl PublishQueue {
    pub(super) fn new(timeout: Duration, max_bytes: usize, names: Arc<TopicNames>) -> Self {
        let state = QueueState {
            closed: Some("connecting to Redis".into()),
            entries: VecDeque::new(),
            first: 0,
            unsent: 0,
            bytes: 0,
            timed_out: BTreeSet::new(),
        };
        Self {
            node: NodeId::random(),
            names,
            timeout,
            max_bytes,
            state: Mutex::new(state),
            queued: Notify::new(),
            first_entry: Notify::new(),
            emptied: Notify::new(),
        }
    }

    pub(super) fn publish(&self, publication: Publication, receipt: Receipt) {
        let storage = Storage::of(publication.retained, publication.idempotency_key);
        let dispatch = publication.dispatch;
        let cost = cost(&dispatch);
        // Encoded before taking the lock, except for the number.
        let (topic, mut payload, has_copy) = match dispatch {
            Dispatch::Event(event) => {
                (self.names.events.clone(), envelope::begin_event(&event, &self.node), true)
            }
            Dispatch::Signal(body) => {
                (self.names.signals.clone(), envelope::begin_signal(&body, &self.node), true)
            }
            Dispatch::Topic { topic, payload } => (self.names.channel(&topic).into(), payload.into(), false),
        };
        // What travels without an envelope has no place for a position.
        let storage = storage.filter(|_| has_copy);
        let is_first = {
            let mut state = self.lock();
            let refused = if state.closed.is_some() {
                Some(PublishError::Unreachable)
            } else if state.bytes > 0 && state.bytes + cost > self.max_bytes {
                Some(PublishError::QueueFull)
            } else {
                None
            };
            if let Some(refused) = refused {
                drop(state);
                return receipt(Err(refused));
            }
            if storage.is_some() {
                envelope::finish_open(&mut payload, state.next());
            } else if has_copy {
                envelope::finish(&mut payload, state.next());
            }
            state.bytes += cost;
            let deadline = Instant::now() + self.timeout;
            let entry = QueueEntry {
                receipt: Some(receipt),
                deadline,
                topic,
                payload,
                cost,
                has_copy,
                is_stored: storage.is_some(),
                storage,
                is_done: false,
            };
            state.entries.push_back(entry);
            state.entries.len() == 1
        };
        self.queued.notify_one();
        if is_first {
            self.first_entry.notify_one();
        }
    }

    /// Why nothing is accepted now, if so.
    pub(super) fn closed_reason(&self) -> Option<Arc<str>> {
        self.lock().closed.clone()
    }

    pub(super) fn open(&self) {
        self.lock().closed = None;
    }

    /// Accepts nothing more until [`PublishQueue::open`].
    pub(super) fn close(&self, reason: &str) {
        self.lock().closed = Some(reason.into());
    }

    /// Takes the next messages to send, in order.
    pub(super) fn take_batch(&self) -> Vec<QueuedMessage> {
        let mut state = self.lock();
        let mut batch = Vec::new();
        let (mut bytes, mut retained) = (0, 0);
        while batch.len() < MAX_BATCH_MESSAGES && bytes < MAX_BATCH_BYTES && retained < MAX_BATCH_RETAINED {
            let seq = state.unsent;
            let Some(entry) = state.entry(seq) else { break };
            if entry.receipt.is_some() {
                let payload = std::mem::take(&mut entry.payload);
                let storage = entry.storage.take();
                bytes += payload.len();
                retained += storage.as_ref().map_or(0, |storage| storage.retained.len());
                batch.push(QueuedMessage {
                    seq,
                    deadline: entry.deadline,
                    topic: entry.topic.clone(),
                    payload,
                    storage,
                });
            }
            state.unsent += 1;
        }
        batch
    }

    /// Redis has published the message, and stored it at this position if it has one.
    pub(super) fn accept(&self, seq: u64, position: Option<Position>) {
        self.settle(seq, Ok(position), false);
    }

    /// The message was published before, under the same idempotency key, so that no copy of this one comes back.
    pub(super) fn accept_repeated(&self, seq: u64, first: Option<Position>) {
        self.settle(seq, Ok(first), true);
    }

    /// Whether the outcome of the message is known.
    pub(super) fn is_settled(&self, seq: u64) -> bool {
        self.lock().entry(seq).is_none_or(|entry| entry.receipt.is_none())
    }

    /// The message was not published and will not be.
    pub(super) fn refuse(&self, seq: u64, error: PublishError) {
        self.settle(seq, Err(error), true);
    }

    /// The message's copy has arrived, which proves that Redis has published it.
    pub(super) fn on_copy(&self, seq: u64, position: Option<Position>) -> OwnCopy {
        let deadline = self.settle(seq, Ok(position), true);
        if self.lock().timed_out.remove(&seq) {
            return OwnCopy::Discard;
        }
        OwnCopy::Deliver { accepted: deadline.and_then(|at| at.into_std().checked_sub(self.timeout)) }
    }

    /// Refuses the messages that the publisher has not taken yet.
    pub(super) fn refuse_unsent(&self) {
        let unsent = {
            let mut state = self.lock();
            let unsent = state.unsent..state.next();
            state.unsent = unsent.end;
            unsent
        };
        for seq in unsent {
            self.refuse(seq, PublishError::Unreachable);
        }
    }

    /// Refuses all remaining messages, at shutdown.
    pub(super) fn refuse_all(&self, error: PublishError) {
        let all = {
            let mut state = self.lock();
            state.unsent = state.next();
            state.first..state.next()
        };
        for seq in all {
            self.refuse(seq, error);
        }
    }

    /// Refuses the messages that were not settled in time. Runs until it is dropped.
    pub(super) async fn expire(&self) {
        loop {
            let next = self.lock().entries.front().map(|entry| entry.deadline);
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => self.first_entry.notified().await,
            }
            let due = Instant::now();
            // If the process was stopped, Redis's answer may be in the socket, unread.
            sleep(READ_AFTER_DEADLINE).await;
            self.refuse_expired(due);
        }
    }

    /// How many messages have not been settled, or whose copies are not back.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn refuse_expired(&self, now: Instant) {
        loop {
            let seq = {
                let mut state = self.lock();
                match state.entries.front() {
                    Some(entry) if entry.deadline <= now => {}
                    _ => return,
                }
                let seq = state.first;
                let is_pending = state
                    .entries
                    .front()
                    .is_some_and(|entry| entry.has_copy && !entry.is_stored && entry.receipt.is_some());
                // The copy of a message that was sent may still arrive.
                if is_pending && seq < state.unsent {
                    state.timed_out.insert(seq);
                    if state.timed_out.len() > MAX_REMEMBERED {
                        state.timed_out.pop_first();
                    }
                }
                seq
            };
            self.refuse(seq, PublishError::TimedOut);
        }
    }

    /// Returns the deadline of the message, if it is in the queue.
    fn settle(
        &self,
        seq: u64,
        outcome: Result<Option<Position>, PublishError>,
        is_done: bool,
    ) -> Option<Instant> {
        let (receipt, emptied, deadline) = {
            let mut state = self.lock();
            let entry = state.entry(seq)?;
            let deadline = entry.deadline;
            entry.is_done |= is_done || !entry.has_copy;
            let receipt = entry.receipt.take();
            if receipt.is_some() {
                let cost = entry.cost;
                state.bytes = state.bytes.saturating_sub(cost);
            }
            while state.entries.front().is_some_and(|entry| entry.is_done) {
                state.entries.pop_front();
                state.first += 1;
            }
            state.unsent = state.unsent.max(state.first);
            (receipt, state.entries.is_empty(), deadline)
        };
        if let Some(receipt) = receipt {
            receipt(outcome);
        }
        if emptied {
            self.emptied.notify_waiters();
        }
        Some(deadline)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    fn of(mut retained: Vec<Retained>, idempotency_key: Option<Arc<str>>) -> Option<Box<Self>> {
        if retained.is_empty() && idempotency_key.is_none() {
            return None;
        }
        // A channel that is named twice receives the message twice and stores it once.
        let mut channels = HashSet::new();
        retained.retain(|retained| channels.insert(retained.channel.clone()));
        Some(Box::new(Self { retained, idempotency_key, second_key: None }))
    }
}

impl QueueState {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn entry(&mut self, seq: u64) -> Option<&mut QueueEntry> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }
}

#[cfg(test)]
mod tests;
