use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What was to be written of sessions and is not in Redis.
#[derive(Debug, Default)]
pub(super) struct SessionLosses {
    /// When something was last found missing.
    last: Mutex<Option<Instant>>,
    /// Redis has lost something that it had written.
    by_redis: Notify,
}

impl SessionLosses {
    /// Something was dropped that waited to be written.
    pub(super) fn add_dropped(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Redis has lost something.
    pub(super) fn add_lost(&self) {
        self.add_dropped();
        self.by_redis.notify_one();
    }

    /// Waits until Redis has lost something. It may have done so since the last call.
    pub(super) async fn lost(&self) {
        self.by_redis.notified().await;
    }

    /// All sessions have been written since.
    pub(super) fn make_good(&self, since: Instant) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take_if(|last| *last <= since);
    }

    pub(super) fn is_within(&self, time: Duration) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_counts_until_all_sessions_have_been_written_since() {
        let losses = SessionLosses::default();
        let window = Duration::from_secs(60);
        assert!(!losses.is_within(window));
        let before = Instant::now();
        losses.add_lost();
        losses.make_good(before.checked_sub(Duration::from_millis(1)).unwrap());
        assert!(losses.is_within(window));
        losses.make_good(Instant::now());
        assert!(!losses.is_within(window));
    }
}
