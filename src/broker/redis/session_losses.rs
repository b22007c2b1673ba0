use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was to be written of sessions and is not in Redis.
#[derive(Debug, Default)]
pub(super) struct SessionLosses {
    /// When something was last dropped that waited to be written.
    last: Mutex<Option<Instant>>,
}

impl SessionLosses {
    /// Something was dropped that waited to be written.
    pub(super) fn add_dropped(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn is_within(&self, time: Duration) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= time)
    }
}
