//! How this node leaves the cluster.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Channels;
use super::wire::ClusterMessage;
use crate::webhooks::is_taken_over;

impl Channels {
    /// Announces to the other nodes that this one leaves, and delivers the webhooks that no other node will deliver. Takes at
    /// most `within`; events that have not been delivered then are counted and logged.
    ///
    /// Call it after the connections are closed and before the broker is.
    pub async fn leave(&self, within: Duration) {
        let end = Instant::now() + within;
        let leaving = async {
            // Without a broker, the other nodes detect the loss of this one by its missing heartbeats.
            if self.send(&ClusterMessage::Leave).await.is_ok() && !self.webhooks.is_empty() {
                self.own_leave.notified().await;
            }
        };
        // Everything that was sent earlier comes back before it. If it does not come back, the current state decides, and half
        // of the time is left to deliver the webhooks.
        let _ = timeout(within / 2, leaving).await;
        self.left.call_once(|| self.remove_own_state());
        self.webhooks.finish(end).await;
    }

    /// This node's own [`Leave`](ClusterMessage::Leave) has come back.
    pub(super) fn handle_own_leave(&self) {
        self.left.call_once(|| self.remove_own_state());
        self.own_leave.notify_one();
    }

    /// Removes everything that is on this node, including changes that have not been sent. The last node delivers the webhooks
    /// about this; otherwise another node does.
    fn remove_own_state(&self) {
        let mut is_last = false;
        self.update(|state| {
            state.has_left = true;
            if state.nodes.has_others() {
                state.sweeps.clear();
                return Vec::new();
            }
            is_last = true;
            let own = state.nodes.own().clone();
            self.webhooks.close();
            state.lose(None, |view, time| {
                view.lose(&own, time);
                vec![own.clone()]
            })
        });
        if is_last {
            while self.sweep_some() {}
        } else {
            self.webhooks.hand_over(is_taken_over);
        }
    }
}
