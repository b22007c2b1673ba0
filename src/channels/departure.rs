//! How another node leaves. What was on it may stay for a while: its clients are expected on other nodes.

use super::effect::Effect;
use super::lingering_node::LingeringNode;
use super::responsibility::Responsibility;
use super::snapshot::MAX_PART_BYTES;
use super::state::State;
use super::wire::{AppSnapshot, ClusterMessage, OVERHEAD};
use crate::message::NodeName;

/// The longest time that what was on a node stays after it has left, in milliseconds.
const MAX_LINGER: u64 = 60_000;

/// Entries of a node that has left that a new node is told of. Without the others, it learns of their clients when these are back.
const MAX_HANDED_OVER: usize = 20_000;

impl State {
    /// Handles the departure of another node. What was on it stays for `linger` milliseconds.
    pub(super) fn node_left(&mut self, node: &NodeName, since: u64, linger: u64) -> Vec<Effect> {
        self.nodes.left(node, since);
        if linger > 0 {
            self.linger(node, since, linger, false);
        }
        // It queues the webhooks about everything before its departure itself.
        self.lose(None, |view, time| {
            if linger > 0 {
                return Vec::new();
            }
            view.lose(node, time);
            vec![node.clone()]
        })
    }

    fn linger(&mut self, node: &NodeName, since: u64, linger: u64, is_handed_over: bool) {
        let until = self.time() + linger.min(MAX_LINGER);
        self.lingering.push(LingeringNode { node: node.clone(), since, until, is_handed_over });
    }

    /// Removes what was on nodes that have left long enough ago.
    pub(super) fn end_lingering(&mut self, time: u64) -> Vec<Effect> {
        let ended = self.lingering.extract_if(.., |lingering| lingering.until <= time);
        let ended: Vec<NodeName> = ended.map(|lingering| lingering.node).collect();
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

    /// Tells a new node what is left of nodes that it has never heard.
    pub(super) fn hand_over_lingering(&mut self) {
        let time = self.time();
        for LingeringNode { node, since, until, .. } in &self.lingering {
            let mut apps: Vec<AppSnapshot> = Vec::new();
            let (mut bytes, mut left) = (0, MAX_HANDED_OVER);
            let message = |apps| {
                let linger = until.saturating_sub(time);
                ClusterMessage::Lingering { node: node.clone(), since: *since, linger, apps }
            };
            for (id, state) in &self.apps {
                let entries = state.view.entries_of(node, left);
                left -= entries.len();
                for entry in entries {
                    if bytes > MAX_PART_BYTES {
                        self.handovers.push_back(message(std::mem::take(&mut apps)));
                        bytes = 0;
                    }
                    bytes += entry.text_bytes() + OVERHEAD;
                    if apps.last().is_none_or(|part| part.app != *id) {
                        apps.push(AppSnapshot::new(id.clone()));
                    }
                    if let Some(part) = apps.last_mut() {
                        part.add(entry);
                    }
                }
            }
            if !apps.is_empty() {
                self.handovers.push_back(message(apps));
            }
        }
    }

    /// Another node has told what is left of a node that has left.
    pub(super) fn apply_lingering(
        &mut self,
        node: &NodeName,
        since: u64,
        linger: u64,
        apps: Vec<AppSnapshot>,
        effects: &mut Vec<Effect>,
    ) {
        match self.lingering.iter().find(|lingering| lingering.node == *node) {
            // This node has heard it leave.
            Some(LingeringNode { is_handed_over: false, .. }) => return,
            Some(_) => {}
            None if self.nodes.is_known(node) => return,
            None => {
                self.nodes.left(node, since);
                self.linger(node, since, linger, true);
            }
        }
        let time = self.time();
        for part in apps {
            let app = part.app.clone();
            let Some(state) = self.apps.get_mut(&app) else { continue };
            let transitions = state.view.snapshot_part(node, 1, part.into_snapshot(), time);
            // The webhooks about it were delivered long ago.
            self.notify(&app, transitions, Responsibility::None, effects);
        }
    }
}
