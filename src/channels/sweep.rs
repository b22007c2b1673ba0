//! The task that takes out of the views what is out of date: little at a time, so that nothing else waits for long.

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

    /// Takes a step. Whether there was one to take.
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
