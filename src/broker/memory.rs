use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::budget::Budget;
use super::memory_store::MemoryStore;
use super::{BrokerLevels, Inbound, PublishError, Receipt, Status, StoreState, SubscribeOutcome, retained};
use crate::message::{Dispatch, Position, Publication, RetentionRules, Stored};
use crate::telemetry::{MessageTimes, Metrics};

/// The broker of a single node: an accepted dispatch is inbound at once.
#[derive(Debug)]
pub struct Memory {
    budget: Budget,
    retention: Arc<RetentionRules>,
    metrics: Arc<Metrics>,
    /// A std mutex: held for a push or a pop, never across a receipt or an await.
    state: Mutex<MemoryState>,
}

struct Accepted {
    publication: Publication,
    permit: OwnedSemaphorePermit,
    receipt: Receipt,
    times: MessageTimes,
}

struct MemoryState {
    accepted: VecDeque<Accepted>,
    /// A thread is draining `accepted`, including what other threads add meanwhile. So receipts and the inbound stream
    /// have one order without a lock around the receipts.
    is_draining: bool,
    topics: HashSet<Box<str>>,
    prefixes: Vec<Box<str>>,
    store: MemoryStore,
    /// `None` after shutdown.
    inbound: Option<mpsc::UnboundedSender<Inbound>>,
}

impl Memory {
    pub(super) fn start(
        queue_bytes: usize,
        retention: Arc<RetentionRules>,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::UnboundedReceiver<Inbound>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        metrics.broker_up.set(1);
        if !retention.is_empty() {
            // Succeeds: the receiver exists.
            let _ = sender.send(Inbound::Connected);
        }
        let state = MemoryState {
            accepted: VecDeque::new(),
            is_draining: false,
            topics: HashSet::new(),
            prefixes: Vec::new(),
            store: MemoryStore::new(),
            inbound: Some(sender),
        };
        (Self { budget: Budget::new(queue_bytes), retention, metrics, state: Mutex::new(state) }, receiver)
    }

    pub(super) fn publish(&self, mut publication: Publication, receipt: Receipt) {
        retained(&mut publication, &self.retention);
        let Some(permit) = self.budget.try_take(&publication.dispatch) else {
            return receipt(Err(PublishError::QueueFull));
        };
        let accepted = Accepted { publication, permit, receipt, times: MessageTimes::now() };
        let mut state = self.lock();
        let Some(sender) = state.inbound.clone() else {
            drop(state);
            return (accepted.receipt)(Err(PublishError::Unreachable));
        };
        if state.is_draining {
            state.accepted.push_back(accepted);
        } else {
            state.is_draining = true;
            self.drain(accepted, state, &sender);
        }
    }

    pub(super) fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        if self.lock().topics.insert(topic.into()) {
            SubscribeOutcome::Active
        } else {
            SubscribeOutcome::AlreadySubscribed
        }
    }

    pub(super) fn subscribe_prefix(&self, prefix: &str) {
        self.lock().prefixes.push(prefix.into());
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        let state = self.lock();
        state.topics.contains(topic) || state.prefixes.iter().any(|prefix| topic.starts_with(&**prefix))
    }

    pub(super) fn unsubscribe(&self, topic: &str) {
        self.lock().topics.remove(topic);
    }

    pub(super) fn status(&self) -> Status {
        match self.lock().inbound {
            Some(_) => Status::Ready,
            None => Status::Unavailable("shutting down".into()),
        }
    }

    pub(super) fn shutdown(&self) {
        self.lock().inbound = None;
        self.metrics.broker_up.set(0);
    }

    pub(super) fn levels(&self) -> BrokerLevels {
        BrokerLevels { inbound_bytes: self.budget.taken(), outbound_messages: 0 }
    }

    pub(super) fn store_state(&self) -> StoreState {
        self.lock().store.state()
    }

    pub(super) fn fence(&self, handled: oneshot::Sender<()>) {
        if let Some(inbound) = &self.lock().inbound {
            // Fails only while the node shuts down.
            let _ = inbound.send(Inbound::Fence(handled));
        }
    }

    /// Delivers a dispatch, and what other threads add meanwhile.
    fn drain<'a>(
        &'a self,
        accepted: Accepted,
        state: MutexGuard<'a, MemoryState>,
        sender: &mpsc::UnboundedSender<Inbound>,
    ) {
        let _resumable = StopDraining(self);
        // Dropped before, also by a panic.
        let mut state = state;
        let mut next = match state.accepted.pop_front() {
            None => accepted,
            // A receipt has panicked.
            Some(left) => {
                state.accepted.push_back(accepted);
                left
            }
        };
        loop {
            let stored = state.store.store(&next.publication);
            drop(state);
            self.deliver(next, stored, sender);
            state = self.lock();
            let Some(accepted) = state.accepted.pop_front() else { break };
            next = accepted;
        }
        state.is_draining = false;
    }

    fn deliver(
        &self,
        Accepted { publication, permit, receipt, times }: Accepted,
        stored: Result<Option<Stored>, Option<Position>>,
        sender: &mpsc::UnboundedSender<Inbound>,
    ) {
        let stored = match stored {
            Ok(stored) => stored,
            Err(first) => return receipt(Ok(first)),
        };
        receipt(Ok(stored.as_ref().and_then(|stored| Some(stored.positions.first()?.1))));
        let dispatch = publication.dispatch;
        if self.is_wanted(&dispatch) {
            self.metrics.broker_messages.inc();
            // Fails only while the node shuts down.
            let _ = sender.send(Inbound::Dispatch { dispatch, stored: stored.map(Box::new), permit, times });
        }
    }

    /// A message on a topic arrives only if it is subscribed, as over Redis.
    fn is_wanted(&self, dispatch: &Dispatch) -> bool {
        match dispatch {
            Dispatch::Topic { topic, .. } => self.is_subscribed(topic),
            Dispatch::Event(_) | Dispatch::Signal(_) => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets another thread drain the queue after a receipt has panicked.
struct StopDraining<'a>(&'a Memory);

impl Drop for StopDraining<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_draining = false;
        }
    }
}

impl std::fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryState").field("accepted", &self.accepted.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use bytes::Bytes;

    use super::*;

    fn signal(text: &'static str) -> Publication {
        Dispatch::Signal(Bytes::from_static(text.as_bytes())).into()
    }

    #[test]
    fn what_a_receipt_that_panics_leaves_is_delivered_before_the_next_dispatch() {
        let (memory, mut inbound) = Memory::start(1 << 20, Arc::default(), Arc::default());
        let memory = Arc::new(memory);
        let publisher = memory.clone();
        let receipt = move |_| {
            // Waits, because the thread delivers already.
            publisher.publish(signal("left"), Box::new(|outcome| assert!(outcome.is_ok())));
            panic!("a bug in a receipt");
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| memory.publish(signal("lost"), Box::new(receipt))));
        assert!(outcome.is_err() && inbound.try_recv().is_err());
        memory.publish(signal("next"), Box::new(|outcome| assert!(outcome.is_ok())));
        let mut delivered = Vec::new();
        while let Ok(Inbound::Dispatch { dispatch: Dispatch::Signal(text), .. }) = inbound.try_recv() {
            delivered.push(text);
        }
        assert_eq!(delivered, ["left", "next"]);
    }
}
