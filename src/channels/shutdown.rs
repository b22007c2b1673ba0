//! How this node leaves the cluster.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Channels;
use super::wire::ClusterMessage;
use crate::webhooks::is_taken_over;

impl Channels {
    /// Tells the other nodes that this one leaves, so that they do not wait for it, and webhooks what no other node will tell
    /// them. Takes at most `within`; events that have not been delivered then are counted and logged.
    ///
    /// To be called when the connections are closed, and before the broker is.
    pub async fn leave(&self, within: Duration) {
        let end = Instant::now() + within;
        let leaving = async {
            // Without a broker, the others will miss this node by its silence.
            if self.send(&ClusterMessage::Leave).await.is_ok() && !self.webhooks.is_empty() {
                self.own_leave.notified().await;
            }
        };
        // All that was sent before comes back before it. If it does not come back, what is known has to do, and there has to be
        // time to deliver that.
        let _ = timeout(within / 2, leaving).await;
        self.left.call_once(|| self.lose_itself());
        self.webhooks.finish(end).await;
    }

    /// This node's own [`Leave`](ClusterMessage::Leave) has come back.
    pub(super) fn handle_own_leave(&self) {
        self.left.call_once(|| self.lose_itself());
        self.own_leave.notify_one();
    }

    /// All that is on this node is gone, even what it has not sent yet. If it is the last node, it tells webhooks; otherwise
    /// another one does.
    fn lose_itself(&self) {
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
