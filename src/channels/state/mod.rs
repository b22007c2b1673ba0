//! The state of this node, and the changes that it has not sent yet. Pure; times are in milliseconds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::AppRules;
use super::app::{AppState, Local};
use super::changes::Changes;
use super::lingering_node::LingeringNode;
use super::pending::PendingJoin;
use super::recent_events::RecentEvents;
use super::responsibility::Responsibility;
use super::snapshot::Walk;
use super::topics::{PendingTopic, Topics};
use super::wire::ClusterMessage;
use crate::cluster::Nodes;
use crate::message::{ChannelName, Dialect, Member, NodeName, SocketId};
use crate::presence::Change;

#[derive(Debug)]
pub(super) struct State {
    pub(super) apps: HashMap<Arc<str>, AppState>,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) nodes: Nodes,
    pub(super) topics: Topics,
    /// Joins that have been sent or wait to be, by their numbers, until they come back.
    pub(super) joins: HashMap<u64, PendingJoin>,
    /// What the successor of a lost node repeats.
    pub(super) recent_events: RecentEvents,
    /// The stale entries that have to be removed from the views.
    pub(super) sweeps: VecDeque<Sweep>,
    /// Nodes that have left, and whose clients are expected on others.
    pub(super) lingering: Vec<LingeringNode>,
    /// What a new node is told of them.
    pub(super) handovers: VecDeque<ClusterMessage>,
    pub(super) changes: Changes,
    /// The rest of a snapshot that is being sent. No change may be sent in between.
    pub(super) snapshot: Option<Walk>,
    pub(super) due: Due,
    /// When this node sends the last events of cache channels that no other node has sent, if that has been requested.
    pub(super) history_turn: Option<u64>,
    /// This node has left: it ignores what arrives now.
    pub(super) has_left: bool,
}

/// What to send in addition to changes and requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    pub(super) snapshot: bool,
    pub(super) heartbeat: bool,
}

/// The stale entries of a node in an app's view.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) app: Arc<str>,
    pub(super) node: NodeName,
    pub(super) responsibility: Responsibility,
}

impl State {
    pub(super) fn new(
        apps: impl IntoIterator<Item = AppState>,
        dialect: &'static dyn Dialect,
        nodes: Nodes,
        topics: Topics,
    ) -> Self {
        Self {
            apps: apps.into_iter().map(|app| (app.rules.id.clone(), app)).collect(),
            dialect,
            nodes,
            topics,
            joins: HashMap::new(),
            recent_events: RecentEvents::default(),
            sweeps: VecDeque::new(),
            lingering: Vec::new(),
            handovers: VecDeque::new(),
            changes: Changes::default(),
            snapshot: None,
            // A new node announces that it has no connections.
            due: Due { snapshot: true, heartbeat: false },
            history_turn: None,
            has_left: false,
        }
    }

    /// Whether changes or parts of a snapshot wait to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.snapshot.is_some() || !self.changes.is_empty()
    }

    pub(super) fn is_leader(&self) -> bool {
        self.nodes.is_leader()
    }

    pub(super) fn time(&self) -> u64 {
        self.nodes.time()
    }

    /// Adds a connection to a channel without members.
    pub(super) fn enter(&mut self, app: &Arc<str>, channel: &ChannelName) {
        let Some(state) = self.apps.get_mut(app) else { return };
        let is_first = match state.local.entry(channel.clone()).or_insert(Local::Count(0)) {
            Local::Count(count) => {
                *count += 1;
                *count == 1
            }
            Local::Members(_) => false,
        };
        self.changes.count(app, channel);
        if is_first {
            self.changes.entries += 1;
            self.topics.enter(app, channel);
        }
    }

    /// Queues the join of a connection to a channel with members. Returns the number of the join.
    pub(super) fn enter_as(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        member: Member,
    ) -> u64 {
        let number = self.changes.next_number();
        let Some(state) = self.apps.get_mut(app) else { return number };
        let local = state.local.entry(channel.clone()).or_insert_with(|| Local::Members(Box::default()));
        let mut is_first = false;
        if let Local::Members(members) = local {
            is_first = members.is_empty();
            let is_new = members.insert(connection, (number, member.clone())).is_none();
            self.changes.entries += usize::from(is_new);
        }
        self.change(app, number, channel, Change::Join { connection, member });
        if is_first {
            self.topics.enter(app, channel);
        }
        number
    }

    /// Removes a connection from a channel; if `join` is given, only if its join has this number. Returns the completions that
    /// waited for the topic of the channel, to be dropped when the state is unlocked.
    pub(super) fn exit(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        join: Option<u64>,
    ) -> Option<PendingTopic> {
        let state = self.apps.get_mut(app)?;
        let local = state.local.get_mut(channel)?;
        let (is_member, is_last) = match local {
            Local::Count(count) => {
                *count = count.saturating_sub(1);
                (false, *count == 0)
            }
            Local::Members(members) => {
                let is_it = |(number, _): &(u64, Member)| join.is_none_or(|join| join == *number);
                if !members.get(&connection).is_some_and(is_it) {
                    return None;
                }
                members.swap_remove(&connection);
                if members.len() < members.capacity() / 8 {
                    members.shrink_to_fit();
                }
                (true, members.is_empty())
            }
        };
        if is_last {
            state.local.swap_remove(channel);
            if state.local.len() < state.local.capacity() / 8 {
                state.local.shrink_to_fit();
            }
        }
        self.changes.entries -= usize::from(is_member || is_last);
        if is_member {
            let number = self.changes.next_number();
            self.change(app, number, channel, Change::Leave { connection });
        } else {
            self.changes.count(app, channel);
        }
        if (is_member || is_last) && self.changes.departed() {
            self.due.snapshot = true;
        }
        if !is_last {
            return None;
        }
        let (waiting, is_subscribed) = self.topics.exit(app, channel)?;
        if !is_subscribed && let Some(state) = self.apps.get_mut(app) {
            state.history.unsubscribed(channel);
        }
        waiting
    }

    /// A connection has joined a channel whose subscribers receive counts. It receives one when this node's count comes back,
    /// even if that has not changed because another connection has left meanwhile.
    pub(super) fn await_count(&mut self, app: &Arc<str>, channel: &ChannelName) {
        if let Some(state) = self.apps.get_mut(app)
            && state.awaiting_count.insert(channel.clone())
        {
            self.changes.count(app, channel);
        }
    }

    /// Channels with new subscribers that have not received a count, and for which no message will come back.
    pub(super) fn take_awaiting_count(&mut self) -> Vec<(Arc<str>, ChannelName, u64)> {
        let mut waiting = Vec::new();
        for (id, state) in &mut self.apps {
            for channel in std::mem::take(&mut state.awaiting_count) {
                let count = state.info(self.nodes.own(), &channel).subscriptions;
                waiting.push((id.clone(), channel, count));
            }
        }
        waiting
    }

    fn change(&mut self, app: &Arc<str>, number: u64, channel: &ChannelName, change: Change) {
        if !self.changes.push(app, number, channel, change) {
            // The snapshot will contain it.
            self.due.snapshot = true;
        }
    }

    pub(super) fn rules(&self, app: &str) -> Option<&AppRules> {
        self.apps.get(app).map(|state| &state.rules)
    }
}

#[cfg(test)]
mod tests;
