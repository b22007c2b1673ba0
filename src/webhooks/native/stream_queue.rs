use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{MAX_BYTES, MAX_EVENTS};
use crate::webhooks::event_queue::EventQueue;

/// The events that have still to be added to the event stream, and the task that adds them. A reload keeps both: what waits for Redis
/// is neither lost nor overtaken.
#[derive(Debug)]
pub struct StreamQueue {
    events: EventQueue,
    max_entries: AtomicUsize,
    filler: Mutex<JoinSet<()>>,
}

impl StreamQueue {
    pub(super) fn new() -> Self {
        Self {
            events: EventQueue::new(MAX_EVENTS, MAX_BYTES),
            max_entries: AtomicUsize::default(),
            filler: Mutex::default(),
        }
    }

    pub const fn events(&self) -> &EventQueue {
        &self.events
    }

    /// About how many entries the stream keeps.
    pub fn max_entries(&self) -> usize {
        self.max_entries.load(Ordering::Relaxed)
    }

    pub(super) fn set_max_entries(&self, entries: usize) {
        self.max_entries.store(entries, Ordering::Relaxed);
    }

    /// Runs the task that adds the events to the stream, unless it runs already. It ends with [`finish`](Self::finish). Needs a tokio
    /// runtime.
    pub fn fill<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce() -> F) {
        let mut filler = self.filler();
        if filler.is_empty() {
            filler.spawn(task());
        }
    }

    /// Waits until the stream has all events, until `end` at the latest. Returns how many are left.
    pub(super) async fn finish(&self, end: Instant) -> usize {
        let _ = timeout_at(end, self.events.emptied()).await;
        self.filler().abort_all();
        self.events.len()
    }

    fn filler(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.filler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
