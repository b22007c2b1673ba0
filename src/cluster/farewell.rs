//! How a node goes, this one or another: what is on it has gone, and somebody tells webhooks.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Cluster;
use super::said::Said;
use super::tend::lose;
use crate::presence::{NodeName, Presence};
use crate::webhooks::{is_taken_over, takeover_start};

impl Cluster {
    /// Tells the other nodes that this one goes, so that nobody waits for it, and webhooks what no other node will tell. Takes
    /// no longer than `within`; what has not been told then is counted and logged.
    ///
    /// The last thing to do, when the connections are closed and before the broker is.
    pub async fn finish(&self, within: Duration) {
        let end = Instant::now() + within;
        let saying = async {
            // If the broker is not there, the others will miss this node by its silence.
            if self.say(Said::Gone).await.is_ok() && !self.webhooks.is_empty() {
                self.farewell.notified().await;
            }
        };
        // All that was said before the farewell comes back before it. Where it does not come, what is known has to do, and
        // there has to be time to tell it.
        let _ = timeout(within / 2, saying).await;
        self.left.call_once(|| self.go());
        self.webhooks.finish(end).await;
    }

    pub(super) fn farewell_came_back(&self) {
        self.left.call_once(|| self.go());
        self.farewell.notify_one();
    }

    /// All that is on this node has gone, also what it had not said yet. The last of all nodes tells webhooks of it; otherwise
    /// another one does.
    fn go(&self) {
        let lost = {
            let mut state = self.state();
            state.has_left = true;
            if state.has_others() {
                state.sweeps.clear();
                None
            } else {
                Some(lose(&mut state, None, |view, time| lose_one(view, &self.node, time)))
            }
        };
        let Some(lost) = lost else { return self.webhooks.hand_over(is_taken_over) };
        self.webhooks.close();
        self.tell_lost(lost);
        while self.sweep_some() {}
    }

    /// Another node has said that it goes.
    pub(super) fn node_gone(&self, node: &NodeName, since: u64) {
        let lost = {
            let mut state = self.state();
            if state.has_left {
                return;
            }
            let spoke = state.is_speaker();
            state.gone(node, since);
            let last_told = (!spoke).then(|| takeover_start(state.time));
            lose(&mut state, last_told, |view, time| lose_one(view, node, time))
        };
        self.tell_lost(lost);
    }
}

fn lose_one(view: &mut Presence, node: &NodeName, time: u64) -> Vec<NodeName> {
    view.lose(node, time);
    vec![node.clone()]
}
