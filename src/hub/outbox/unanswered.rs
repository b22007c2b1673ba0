use std::sync::atomic::{AtomicU32, Ordering};

/// The cost of the client's messages that the broker has not answered, in bytes.
#[derive(Debug, Default)]
pub(super) struct Unanswered(AtomicU32);

/// With this many bytes unanswered, nothing is read from the client: the queue of the broker is shared, and everyone waits for
/// what one client has in it.
const LIMIT: u32 = 64 * 1024;

/// Added to the size of each message, so that small ones are bounded too.
const OVERHEAD: u32 = 512;

impl Unanswered {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(cost(bytes), Ordering::Relaxed);
    }

    /// Returns whether the client can be read again from now on.
    pub(super) fn remove(&self, bytes: usize) -> bool {
        let cost = cost(bytes);
        let before = self.0.fetch_sub(cost, Ordering::Relaxed);
        before >= LIMIT && before.saturating_sub(cost) < LIMIT
    }

    /// Counts as much as is permitted.
    pub(super) fn fill(&self) {
        self.0.fetch_add(LIMIT, Ordering::Relaxed);
    }

    /// Ends a [`fill`](Self::fill).
    pub(super) fn unfill(&self) {
        self.0.fetch_sub(LIMIT, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LIMIT
    }
}

fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX / 2).saturating_add(OVERHEAD)
}
