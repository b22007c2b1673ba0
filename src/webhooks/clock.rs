use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The time of the events of webhooks, in milliseconds: since the node was started, or of Redis if events are queued there. It never
/// goes back.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    started: Instant,
    /// What is added to the time since the start.
    offset: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), offset: Arc::default() }
    }

    pub(super) fn millis(&self) -> u64 {
        self.elapsed() + self.offset.load(Ordering::Relaxed)
    }

    /// It is at least this time.
    pub(super) fn advance_to(&self, now: u64) {
        self.offset.fetch_max(now.saturating_sub(self.elapsed()), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}
