//! The task that removes stale entries from the views, a few at a time so that other work does not wait for long.

use std::sync::Arc;

use tokio::task::yield_now;

use super::Channels;

impl Channels {
    /// Sweeps forever.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            self.unswept.notified().await;
            while self.sweep_some() {
                yield_now().await;
            }
        }
    }

    /// Sweeps one step. Returns whether anything was left to sweep.
    pub(super) fn sweep_some(&self) -> bool {
        let mut is_more = false;
        self.update(|state| {
            let mut effects = Vec::new();
            is_more = state.sweep(&mut effects);
            effects
        });
        is_more
    }
}
