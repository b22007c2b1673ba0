//! Cluster membership. Pure; times are in milliseconds.

use std::collections::HashMap;

use super::SnapshotProgress;
use crate::message::NodeName;

/// A node that has been silent for longer than this is lost, together with everything on it.
const SILENT_AFTER: u64 = 15_000;

/// How long a lost node is remembered, as a multiple of [`SILENT_AFTER`].
const FORGET_AFTER: u64 = 10;

/// Nodes respond to a request for last events one after another, at this interval: long enough to receive what the previous
/// node has sent.
pub const TURN: u64 = 100;

/// No node waits for more turns than this.
const MAX_TURNS: u64 = 6;

/// How long a node that has sent a request counts as waiting for the responses.
const REQUESTING: u64 = 2_000;

/// A request for snapshots is not repeated sooner.
const REQUEST_AGAIN: u64 = 2_000;

/// The nodes of the cluster as this node sees them.
#[derive(Debug)]
pub struct Nodes {
    known: HashMap<NodeName, Node>,
    own: NodeName,
    /// When this node was started, in milliseconds since the Unix epoch.
    since: u64,
    /// How long this node has not been isolated: the clock of the failure detector.
    time: u64,
    is_isolated: bool,
    /// When a message of this node last came back to it, by the caller's clock.
    last_echo: u64,
    /// When this node last sent a request for snapshots.
    requested: Option<u64>,
    /// A request for snapshots is due.
    must_request: bool,
}

#[derive(Debug)]
struct Node {
    last_seen: u64,
    /// When it was started, by its own clock. All nodes compare the same numbers.
    since: u64,
    status: NodeStatus,
    /// When it last sent a request, by the caller's clock.
    requested: Option<u64>,
    snapshot: Option<SnapshotProgress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeStatus {
    /// Its snapshot has not arrived yet.
    New,
    Settled,
    /// It timed out; or it has returned, and its snapshot has not arrived yet.
    Lost,
    /// It has left.
    Left,
}

impl NodeStatus {
    fn is_alive(self) -> bool {
        matches!(self, Self::New | Self::Settled)
    }
}

/// Nodes have timed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// When the first of them was last seen.
    pub last_seen: u64,
}

impl Nodes {
    /// A new node requests snapshots first.
    #[must_use]
    pub fn new(own: NodeName, since: u64) -> Self {
        Self {
            known: HashMap::new(),
            own,
            since,
            time: 0,
            is_isolated: false,
            last_echo: 0,
            requested: None,
            must_request: true,
        }
    }

    #[must_use]
    pub fn own(&self) -> &NodeName {
        &self.own
    }

    /// The clock of the failure detector. It stands still while this node is isolated.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// When a message of this node last came back to it, by the clock of [`echoed`](Self::echoed).
    #[must_use]
    pub fn last_echo(&self) -> u64 {
        self.last_echo
    }

    /// A message of this node has come back to it.
    pub fn echoed(&mut self, now: u64) {
        self.last_echo = now;
    }

    /// Whether this node has heard of a node before.
    #[must_use]
    pub fn is_known(&self, node: &NodeName) -> bool {
        self.known.contains_key(node)
    }

    /// Records a message of a node that was started at `since`; an unknown node has to send a snapshot. Returns whether to apply
    /// the message: one that arrives after its node has left was in flight at that time, and node names are never reused.
    pub fn record_message(&mut self, node: &NodeName, since: u64, is_snapshot: bool) -> bool {
        let time = self.time;
        let status = match (*node == self.own, time > SILENT_AFTER && since < self.since) {
            (true, _) => NodeStatus::Settled,
            // An older node that has not been seen for this long was away.
            (false, true) => NodeStatus::Lost,
            (false, false) => NodeStatus::New,
        };
        let new = Node { last_seen: time, since, status, requested: None, snapshot: None };
        let entry = self.known.entry(node.clone()).or_insert(new);
        if entry.status == NodeStatus::Left {
            return false;
        }
        entry.last_seen = time;
        if entry.status != NodeStatus::Settled && !is_snapshot {
            self.request();
        }
        true
    }

    /// Advances the clock, unless this node is isolated: a node that no longer receives its own messages pauses its failure
    /// detector instead of declaring others dead. Returns the nodes that count as just seen because the isolation is over.
    pub fn pass(&mut self, elapsed: u64, is_isolated: bool) -> Vec<NodeName> {
        if is_isolated {
            self.is_isolated = true;
            return Vec::new();
        }
        self.time = self.time.saturating_add(elapsed);
        let mut refreshed = Vec::new();
        if std::mem::take(&mut self.is_isolated) {
            for (node, entry) in &mut self.known {
                if self.time.saturating_sub(entry.last_seen) <= SILENT_AFTER {
                    entry.last_seen = self.time;
                    refreshed.push(node.clone());
                }
            }
        }
        refreshed
    }

    /// Records a part of a node's snapshot. `None`: the node is unknown.
    pub fn gather(
        &mut self,
        node: &NodeName,
        number: u64,
        index: usize,
        of: usize,
    ) -> Option<SnapshotProgress> {
        let entry = self.known.get_mut(node)?;
        let progress = SnapshotProgress::with(entry.snapshot.take(), number, index, of);
        match progress {
            SnapshotProgress::Complete => {}
            SnapshotProgress::Incomplete { .. } => entry.snapshot = Some(progress),
            SnapshotProgress::Gap => self.request(),
        }
        Some(progress)
    }

    /// Requests a snapshot from all nodes, unless one was requested just now.
    fn request(&mut self) {
        self.must_request |= self.requested.is_none_or(|requested| self.time >= requested + REQUEST_AGAIN);
    }

    /// Requests a snapshot from all nodes, regardless of the last request.
    pub fn request_now(&mut self) {
        self.must_request = true;
    }

    #[must_use]
    pub fn must_request(&self) -> bool {
        self.must_request
    }

    /// Whether to send a request for snapshots now.
    pub fn take_request(&mut self) -> bool {
        let must = std::mem::take(&mut self.must_request);
        if must {
            self.requested = Some(self.time);
        }
        must
    }

    /// Whether the snapshot of a node contains only what was known before this node was started.
    #[must_use]
    pub fn is_older_and_new(&self, node: &NodeName) -> bool {
        self.known.get(node).is_some_and(|entry| entry.status == NodeStatus::New && entry.since < self.since)
    }

    /// The snapshot of a node is complete.
    pub fn settle(&mut self, node: &NodeName) {
        if let Some(entry) = self.known.get_mut(node) {
            entry.status = NodeStatus::Settled;
        }
    }

    /// Whether this node performs the tasks of a single node, such as delivering webhooks. The leader is the node that was started
    /// first, so that a new node, which has no state yet, never takes over. Two nodes may briefly both be leaders.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.known.iter().all(|(node, entry)| !entry.status.is_alive() || self.is_older_than(node, entry))
    }

    /// The other nodes that are alive, as far as this one knows.
    pub fn others(&self) -> impl Iterator<Item = &NodeName> {
        let others = self.known.iter().filter(|(node, entry)| **node != self.own && entry.status.is_alive());
        others.map(|(node, _)| node)
    }

    /// Whether another node becomes the leader if this one leaves.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.others().next().is_some()
    }

    /// A node has sent a request. Returns how long this node waits before it responds: the oldest node is first, because it has
    /// the most complete state. Nodes that have sent a request themselves are last, but do respond: it may be all of them.
    pub fn wait_for_turn(&mut self, node: &NodeName, now: u64) -> u64 {
        if let Some(entry) = self.known.get_mut(node) {
            entry.requested = Some(now);
        }
        let requests = |entry: &Node| {
            entry.requested.is_some_and(|requested| now.saturating_sub(requested) < REQUESTING)
        };
        let is_before =
            |(node, entry): &(&NodeName, &Node)| entry.status.is_alive() && !self.is_older_than(node, entry);
        let before = self.known.iter().filter(is_before).filter(|(_, entry)| !requests(entry)).count();
        let turns = u64::try_from(before).unwrap_or(MAX_TURNS);
        let last = if self.known.get(&self.own).is_some_and(requests) { MAX_TURNS / 2 } else { 0 };
        (turns + last).min(MAX_TURNS) * TURN
    }

    fn is_older_than(&self, node: &NodeName, entry: &Node) -> bool {
        (self.since, &self.own) <= (entry.since, node)
    }

    /// A node has left. It is forgotten when none of its messages can be in flight any more.
    pub fn left(&mut self, node: &NodeName, since: u64) {
        self.record_message(node, since, true);
        if let Some(entry) = self.known.get_mut(node) {
            (entry.status, entry.snapshot) = (NodeStatus::Left, None);
        }
    }

    /// Marks the nodes that have been silent for too long as lost, if there are any.
    pub fn mark_timed_out(&mut self) -> Option<Lost> {
        let (time, own) = (self.time, self.own.clone());
        let mut last_seen: Option<u64> = None;
        self.known.retain(|node, entry| {
            let silence = time.saturating_sub(entry.last_seen);
            if silence > SILENT_AFTER && *node != own && entry.status.is_alive() {
                (entry.status, entry.snapshot) = (NodeStatus::Lost, None);
                last_seen = Some(last_seen.map_or(entry.last_seen, |seen| seen.min(entry.last_seen)));
            }
            silence <= SILENT_AFTER * FORGET_AFTER || *node == own
        });
        last_seen.map(|last_seen| Lost { last_seen })
    }
}

impl Lost {
    /// How long the nodes were silent, at least.
    pub const AFTER: u64 = SILENT_AFTER;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        let mut nodes = Nodes::new("own".into(), 10);
        nodes.take_request();
        nodes.requested = None;
        nodes
    }

    /// A node's snapshot arrives. Returns whether it contains nothing new.
    fn settled(nodes: &mut Nodes, node: &NodeName) -> bool {
        let is_old = nodes.is_older_and_new(node);
        nodes.settle(node);
        is_old
    }

    #[test]
    fn an_isolated_node_declares_no_other_node_lost() {
        let mut nodes = nodes();
        let other: NodeName = "other".into();
        nodes.record_message(&other, 20, true);
        assert!(!settled(&mut nodes, &other));
        for _ in 0..100 {
            nodes.pass(1000, true);
        }
        assert_eq!(nodes.pass(SILENT_AFTER, false), std::slice::from_ref(&other));
        assert_eq!(nodes.mark_timed_out(), None, "it counts as seen after the isolation");
        nodes.pass(SILENT_AFTER + 1, false);
        assert_eq!(nodes.mark_timed_out(), Some(Lost { last_seen: SILENT_AFTER }));
        assert_eq!(nodes.mark_timed_out(), None);
        // It is alive after all: it has to send a snapshot again.
        nodes.record_message(&other, 20, false);
        assert!(nodes.must_request());
    }

    #[test]
    fn the_oldest_node_answers_a_request_first() {
        let mut nodes = nodes();
        let (older, newer): (NodeName, NodeName) = ("older".into(), "newer".into());
        nodes.record_message(&older, 5, true);
        assert!(settled(&mut nodes, &older), "its first snapshot is older than this node");
        assert!(!settled(&mut nodes, &older), "its next one is not");
        nodes.record_message(&newer, 15, true);
        assert!(!settled(&mut nodes, &newer));
        // The oldest node is first, unless it has sent the request.
        assert_eq!(nodes.wait_for_turn(&newer, 0), TURN);
        assert_eq!(nodes.wait_for_turn(&older, 0), 0);
        assert_eq!(nodes.wait_for_turn(&newer, 10_000), TURN, "it has its answer by now");
        // A node that has sent a request itself is last.
        let own = nodes.own.clone();
        nodes.record_message(&own, 10, true);
        assert!(nodes.wait_for_turn(&own, 10_000) > 3 * TURN);
        // The wait is bounded, however many nodes there are.
        for number in 0..100 {
            nodes.record_message(&format!("{number}").into(), 6, true);
        }
        assert!(nodes.wait_for_turn(&newer, 20_000) < 1_000);
    }

    #[test]
    fn the_leader_is_the_oldest_node_that_knows_the_others() {
        let mut nodes = nodes();
        let (older, newer): (NodeName, NodeName) = ("older".into(), "newer".into());
        assert!(nodes.is_leader());
        nodes.record_message(&newer, 15, false);
        assert!(nodes.is_leader(), "a new node has no state yet");
        nodes.record_message(&older, 5, false);
        assert!(!nodes.is_leader());
        settled(&mut nodes, &older);
        nodes.pass(SILENT_AFTER + 1, false);
        nodes.mark_timed_out();
        assert!(nodes.is_leader());
        // After its return this node is the leader until its snapshot has arrived.
        nodes.record_message(&older, 5, false);
        assert!(nodes.is_leader());
        assert!(!settled(&mut nodes, &older) && !nodes.is_leader());
        // The same if it was away long enough to be forgotten.
        nodes.pass(SILENT_AFTER * 11, false);
        nodes.mark_timed_out();
        nodes.record_message(&older, 5, false);
        assert!(nodes.is_leader());
        assert!(!settled(&mut nodes, &older) && !nodes.is_leader());
    }

    #[test]
    fn messages_of_a_node_that_has_left_do_not_bring_it_back() {
        let mut nodes = nodes();
        let other: NodeName = "other".into();
        nodes.record_message(&other, 5, true);
        assert!(settled(&mut nodes, &other) && nodes.wait_for_turn(&"newer".into(), 0) > 0);
        assert!(!nodes.is_leader());
        nodes.left(&other, 5);
        assert!(nodes.wait_for_turn(&"newer".into(), 0) == 0 && nodes.is_leader());
        // A count that was under way.
        assert!(!nodes.record_message(&other, 5, false) && !nodes.must_request() && nodes.is_leader());
        nodes.pass(SILENT_AFTER + 1, false);
        assert_eq!(nodes.mark_timed_out(), None, "it is not missed");
        nodes.pass(SILENT_AFTER * 10, false);
        nodes.mark_timed_out();
        assert!(nodes.record_message(&other, 5, false), "it is forgotten in the end");
    }
}
