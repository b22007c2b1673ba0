//! How another node leaves. What was on it may stay for a while: its clients are expected on other nodes.

use super::effect::Effect;
use super::state::State;
use crate::message::NodeName;
use crate::webhooks::takeover_start;

/// The longest time that what was on a node stays after it has left, in milliseconds.
const MAX_LINGER: u64 = 60_000;

impl State {
    /// Handles the departure of another node. What was on it stays for `linger` milliseconds.
    pub(super) fn node_left(&mut self, node: &NodeName, since: u64, linger: u64) -> Vec<Effect> {
        let was_leader = self.is_leader();
        self.nodes.left(node, since);
        let took_over = (!was_leader).then(|| takeover_start(self.time()));
        let linger = linger.min(MAX_LINGER);
        if linger > 0 {
            self.lingering.push((self.time() + linger, node.clone()));
        }
        self.lose(took_over, |view, time| {
            if linger > 0 {
                return Vec::new();
            }
            view.lose(node, time);
            vec![node.clone()]
        })
    }

    /// Removes what was on nodes that have left long enough ago.
    pub(super) fn end_lingering(&mut self, time: u64) -> Vec<Effect> {
        let ended: Vec<NodeName> =
            self.lingering.extract_if(.., |(until, _)| *until <= time).map(|(_, node)| node).collect();
        if ended.is_empty() {
            return Vec::new();
        }
        self.lose(None, |view, time| {
            for node in &ended {
                view.lose(node, time);
            }
            ended.clone()
        })
    }
}
