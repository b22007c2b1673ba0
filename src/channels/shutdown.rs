//! How this node leaves the cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Channels;
use super::wire::ClusterMessage;

/// How often to look whether everything has been sent.
const UNSENT_POLL: Duration = Duration::from_millis(5);

impl Channels {
    /// Announces to the other nodes that this one leaves, and queues its last webhooks. If no other node is left, it delivers
    /// them. Takes about `within` at most.
    ///
    /// `linger` is how long the other nodes keep what is still on this one: the pages of its sessions are expected there. Call it after
    /// the connections are closed and before the broker is.
    pub async fn leave(&self, within: Duration, linger: Duration) {
        let end = Instant::now() + within;
        let message = match u64::try_from(linger.as_millis()) {
            Ok(0) => ClusterMessage::Leave,
            linger => ClusterMessage::LeaveLingering(linger.unwrap_or(u64::MAX)),
        };
        let leaving = async {
            // What is not sent would stay on the other nodes as well.
            while !linger.is_zero() && self.state().has_unsent() {
                sleep(UNSENT_POLL).await;
            }
            // Without a broker, the other nodes detect the loss of this one by its missing heartbeats.
            if self.send(&message).await.is_ok() && !self.webhooks.is_empty() {
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
            self.webhooks.hand_over();
        }
    }
}
