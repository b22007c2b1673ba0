//! How messages of all nodes, this one included, change the state. Nothing here has side effects: a change returns
//! [`Effect`]s.

use std::collections::VecDeque;
use std::sync::Arc;

use super::effect::Effect;
use super::pending::{JoinError, Joined, PendingJoin};
use super::reserved_channels::{self, USERS};
use super::responsibility::Responsibility;
use super::state::{State, Sweep};
use super::wire::{AppSnapshot, ClusterMessage, LastEventOf, NumberedChange};
use crate::cluster::{Envelope, Lost, SnapshotProgress, TURN};
use crate::history::{Kept, Knowledge};
use crate::message::{ChannelName, NodeName, Notice, UserId};
use crate::presence::{Change, Presence, Transition};
use crate::webhooks::WebhookEvent;

/// A channel with more subscribers than this sends counts periodically instead of at every change.
const MANY: u64 = 100;

/// Maximum entries of a view that a sweep visits while the state is locked.
const SWEPT_AT_ONCE: usize = 256;

/// The clocks when a message arrives, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) node: u64,
    pub(super) history: u64,
}

impl State {
    /// Applies a message of a node. Returns the effects in order; `None`: the message is ignored.
    ///
    /// Its changes are left to [`apply_change`](Self::apply_change). Events are not applied, they are
    /// [delivered](super::Channels::deliver); and this node leaves when its own [`Leave`](ClusterMessage::Leave) has come
    /// back.
    pub(super) fn apply(&mut self, envelope: Envelope<ClusterMessage>, now: Now) -> Option<Vec<Effect>> {
        let Envelope { node, since, message, .. } = envelope;
        let is_own = node == *self.nodes.own();
        if self.has_left {
            return None;
        }
        let linger = match message {
            ClusterMessage::Leave => Some(0),
            ClusterMessage::LeaveLingering(linger) => Some(linger),
            _ => None,
        };
        if let Some(linger) = linger {
            return if is_own { None } else { Some(self.node_left(&node, since, linger)) };
        }
        if !self.record_message(&node, since, message.is_snapshot()) {
            return None;
        }
        let mut effects = Vec::new();
        if is_own {
            self.nodes.echoed(now.node);
            effects.push(Effect::Echoed);
        }
        match message {
            ClusterMessage::Snapshot { number, apps } => {
                self.apply_part(&node, (number, 0, 1), apps, is_own, &mut effects);
            }
            ClusterMessage::SnapshotPart { number, index, of, apps } => {
                self.apply_part(&node, (number, index, of), apps, is_own, &mut effects);
            }
            ClusterMessage::SnapshotRequest => {
                self.due.snapshot = true;
                self.last_events_requested(&node, now.node);
                if self.is_leader() && !is_own {
                    self.hand_over_lingering();
                }
            }
            ClusterMessage::Lingering { node, since, linger, apps } if !is_own => {
                self.apply_lingering(&node, since, linger, apps, &mut effects);
            }
            ClusterMessage::LastEvents(events) if !is_own => self.merge_last_events(events, now),
            ClusterMessage::Terminate { app, user } => self.terminate(&app, &user, &mut effects),
            ClusterMessage::Changes(_)
            | ClusterMessage::Heartbeat
            | ClusterMessage::LastEvents(_)
            | ClusterMessage::Event(_)
            | ClusterMessage::Leave
            | ClusterMessage::LeaveLingering(_)
            | ClusterMessage::Lingering { .. }
            | ClusterMessage::SessionClaim { .. }
            | ClusterMessage::SessionAnswer { .. }
            | ClusterMessage::Query { .. }
            | ClusterMessage::QueryReply { .. }
            | ClusterMessage::Probe
            | ClusterMessage::ProbeReply { .. } => {}
        }
        effects.push(Effect::WakeOutbound);
        Some(effects)
    }

    /// Records that a node is alive. Returns whether its message is to be applied.
    fn record_message(&mut self, node: &NodeName, since: u64, is_snapshot: bool) -> bool {
        let counts = self.nodes.record_message(node, since, is_snapshot);
        if counts {
            let time = self.time();
            for state in self.apps.values_mut() {
                state.view.heard(node, time);
            }
        }
        counts
    }

    /// Applies one change of a message. Its effects must be performed before the next change: a connection receives the list
    /// of members as of its own join, and a notice for each later one.
    pub(super) fn apply_change(&mut self, node: &NodeName, change: NumberedChange) -> Vec<Effect> {
        let mut effects = Vec::new();
        let NumberedChange { app, number, channel, mut change } = change;
        let Some(name) = reserved_channels::read(&channel).filter(|_| !self.has_left) else { return effects };
        let is_own = *node == *self.nodes.own();
        let (time, responsibility) = (self.time(), Responsibility::of(self.is_leader()));
        let join = if is_own { self.joins.remove(&number) } else { None };
        let Some(state) = self.apps.get_mut(&app) else { return effects };
        // One copy of each text, shared with what is on this node.
        let name = state.shared_name(&name);
        state.share_member(&name, &mut change);
        let is_count = matches!(change, Change::Count(_));
        let transitions = state.view.change(node, number, &name, change, time);
        // New subscribers receive the notice of this change like all others.
        let is_awaited = is_own && is_count && state.awaiting_count.remove(&name) && transitions.is_empty();
        let count = state.view.connections(&name);
        let is_new = transitions.iter().any(|transition| matches!(transition, Transition::MemberAdded(..)));
        self.notify(&app, transitions, responsibility, &mut effects);
        if is_awaited {
            self.send_count(&app, &name, count, &mut effects);
        }
        if let Some(join) = join {
            self.came_back(number, join, is_new, &mut effects);
        }
        effects
    }

    /// Applies a part of a node's snapshot: new entries take effect immediately, missing ones are removed after the last part.
    fn apply_part(
        &mut self,
        node: &NodeName,
        (number, index, of): (u64, usize, usize),
        apps: Vec<AppSnapshot>,
        is_own: bool,
        effects: &mut Vec<Effect>,
    ) {
        let progress = self.nodes.gather(node, number, index, of);
        let Some(SnapshotProgress::Complete | SnapshotProgress::Incomplete { .. }) = progress else { return };
        // The webhooks about what an older node sends to a new one were delivered long ago. A node that returns may be the
        // leader, but does not see its own return.
        let responsibility = if self.nodes.is_older_and_new(node) {
            Responsibility::None
        } else {
            Responsibility::of(self.is_leader())
        };
        let time = self.time();
        for part in apps {
            let app = part.app.clone();
            let Some(state) = self.apps.get_mut(&app) else { continue };
            let transitions = state.view.snapshot_part(node, number, part.into_snapshot(), time);
            self.notify(&app, transitions, responsibility, effects);
        }
        if progress == Some(SnapshotProgress::Complete) {
            self.nodes.settle(node);
            for state in self.apps.values_mut() {
                state.view.snapshot_ends(node, number);
            }
            let sweep = |app: &Arc<str>| Sweep { app: app.clone(), node: node.clone(), responsibility };
            self.sweeps.extend(self.apps.keys().map(sweep));
            if is_own {
                self.own_snapshot_came_back(number, effects);
            }
        }
        effects.push(Effect::WakeSweep);
    }

    /// A change that was sent before the snapshot and has not come back never will: it was lost, or is a sign-in that was
    /// refused. The snapshot contains it.
    fn own_snapshot_came_back(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let mut back: Vec<(u64, PendingJoin)> =
            self.joins.extract_if(|join, _: &mut PendingJoin| *join < number).collect();
        back.sort_unstable_by_key(|(join, _)| *join);
        // A count that was lost comes with the snapshot, where it may not appear as a change.
        for (app, channel, count) in self.take_awaiting_count() {
            self.send_count(&app, &channel, count, effects);
        }
        for (join, pending) in back {
            self.came_back(join, pending, true, effects);
        }
    }

    /// A join of this node has come back: all nodes know of it. `is_new`: it is the user's first known join.
    fn came_back(&mut self, number: u64, join: PendingJoin, is_new: bool, effects: &mut Vec<Effect>) {
        let Some(state) = self.apps.get(&join.app) else { return };
        let limit = state.rules.presence_members;
        if join.channel != *USERS && is_new && state.view.member_count(&join.channel) > limit {
            // Two nodes admitted the last member at the same time. The one whose join came back later leaves again.
            return self.fail_join(number, join, JoinError::Full(limit), effects);
        }
        effects.push(Effect::Complete(join.completion, Ok(Joined { is_first: is_new })));
    }

    fn merge_last_events(&mut self, events: Vec<LastEventOf>, now: Now) {
        // Another node sends them: what it has not sent yet need not be sent by this one.
        let turn = now.node + TURN;
        self.history_turn = self.history_turn.map(|own| own.max(turn));
        for LastEventOf { app, channel, event, data, age, by_topic, version, certain } in events {
            if by_topic && !self.topics.is_subscribed(&channel) {
                continue;
            }
            let (Some(state), Ok(name)) = (self.apps.get_mut(&app), ChannelName::new(&channel)) else {
                continue;
            };
            let notice = Notice::Event { channel: &name, event: &event, data: &data, user_id: None };
            let (frame, at) = (self.dialect.encode(&notice), now.history.saturating_sub(age));
            let kept = Kept { event, data, frame, at, by_topic };
            state.history.merge(&name, kept, Knowledge { version, certain });
        }
    }

    fn terminate(&mut self, app: &str, user: &UserId, effects: &mut Vec<Effect>) {
        let Some(state) = self.apps.get_mut(app) else { return };
        let signed_in = state.users.extract_if(|_, signed_in| signed_in.user == *user);
        effects.extend(signed_in.map(|(_, signed_in)| Effect::Terminate(signed_in.terminate)));
    }

    /// Advances the clock. Nodes that have been silent for too long are lost.
    pub(super) fn pass(&mut self, elapsed: u64, is_isolated: bool) -> Vec<Effect> {
        let refreshed = self.nodes.pass(elapsed, is_isolated);
        let time = self.time();
        for node in &refreshed {
            for state in self.apps.values_mut() {
                state.view.heard(node, time);
            }
        }
        let mut effects = self.end_lingering(time);
        let was_leader = self.is_leader();
        let Some(lost) = self.nodes.mark_timed_out() else { return effects };
        let own = self.nodes.own().clone();
        let lost_leader = (!was_leader).then_some(lost.last_seen);
        effects.push(Effect::LogLost);
        effects.extend(self.lose(lost_leader, |view, time| view.lose_silent(&own, Lost::AFTER, time)));
        effects
    }

    /// Marks nodes as lost, so that they are swept from the views. `lost_leader`: the leader may have been among them, silent
    /// since this time; then this node, if it is the leader now, queues the webhooks that the other one has not.
    pub(super) fn lose(
        &mut self,
        lost_leader: Option<u64>,
        lose: impl Fn(&mut Presence, u64) -> Vec<NodeName>,
    ) -> Vec<Effect> {
        let (time, is_leader) = (self.time(), self.is_leader());
        let responsibility = Responsibility::of(is_leader);
        let mut effects = Vec::new();
        for (id, app) in &mut self.apps {
            for node in lose(&mut app.view, time) {
                self.sweeps.push_back(Sweep { app: id.clone(), node, responsibility });
            }
            if let Some(silent_since) = lost_leader.filter(|_| is_leader) {
                let events = self.recent_events.unqueued(silent_since, id);
                effects.extend(events.into_iter().map(|event| Effect::Webhook { app: id.clone(), event }));
            }
        }
        effects.push(Effect::WakeSweep);
        effects
    }

    /// Removes some stale entries from the views, and forgets clean views. Returns whether there may be more.
    pub(super) fn sweep(&mut self, effects: &mut Vec<Effect>) -> bool {
        while let Some(Sweep { app, node, responsibility }) = self.sweeps.front() {
            if let Some(state) = self.apps.get_mut(app)
                && let Some(transitions) = state.view.sweep(node, SWEPT_AT_ONCE)
            {
                let (app, responsibility) = (app.clone(), *responsibility);
                self.notify(&app, transitions, responsibility, effects);
                return true;
            }
            self.sweeps.pop_front();
        }
        self.sweeps = VecDeque::new();
        false
    }

    /// The changed subscriber counts of channels with many subscribers.
    pub(super) fn send_counts(&mut self) -> Vec<Effect> {
        let is_leader = self.is_leader();
        let mut effects = Vec::new();
        for (app, state) in &mut self.apps {
            for channel in std::mem::take(&mut state.uncounted) {
                let count = state.view.connections(&channel);
                effects.push(Effect::Count { app: app.clone(), channel: channel.clone(), count });
                if is_leader {
                    let event = WebhookEvent::SubscriptionCount { channel, subscription_count: count };
                    effects.push(Effect::Webhook { app: app.clone(), event });
                }
            }
        }
        effects
    }

    /// Notifies the subscribers of this node of changes, and the webhooks if this node is responsible.
    ///
    /// A member's own connections receive no notice about it: the first one is subscribed only after this, and if there is one
    /// already, the user was a member before.
    pub(super) fn notify(
        &mut self,
        app: &Arc<str>,
        transitions: Vec<Transition>,
        responsibility: Responsibility,
        effects: &mut Vec<Effect>,
    ) {
        for transition in transitions {
            let app = app.clone();
            let event = match transition {
                Transition::Occupied(channel) => {
                    self.is_listed(&channel).then_some(WebhookEvent::ChannelOccupied { channel })
                }
                Transition::Vacated(channel) => {
                    self.is_listed(&channel).then_some(WebhookEvent::ChannelVacated { channel })
                }
                Transition::MemberAdded(channel, member) if channel == *USERS => {
                    effects.push(Effect::UserOnline { app: app.clone(), user: member.user_id });
                    None
                }
                Transition::MemberRemoved(channel, member) if channel == *USERS => {
                    effects.push(Effect::UserOffline { app: app.clone(), user: member.user_id });
                    None
                }
                Transition::MemberAdded(channel, member) => {
                    let user_id = member.user_id.clone();
                    let (app, channel) = (app.clone(), channel);
                    effects.push(Effect::MemberAdded { app, channel: channel.clone(), member });
                    Some(WebhookEvent::MemberAdded { channel, user_id })
                }
                Transition::MemberRemoved(channel, member) => {
                    let user_id = member.user_id.clone();
                    let (app, channel) = (app.clone(), channel);
                    effects.push(Effect::MemberRemoved { app, channel: channel.clone(), member });
                    Some(WebhookEvent::MemberRemoved { channel, user_id })
                }
                Transition::Count(channel, count) => {
                    let is_counted =
                        self.rules(&app).is_some_and(|rules| rules.is_counted(self.dialect, &channel));
                    (is_counted && self.send_count(&app, &channel, count, effects))
                        .then_some(WebhookEvent::SubscriptionCount { channel, subscription_count: count })
                }
            };
            let Some(event) = event else { continue };
            match responsibility {
                Responsibility::Own => effects.push(Effect::Webhook { app, event }),
                Responsibility::Others if self.apps.get(&app).is_some_and(|app| app.has_webhooks) => {
                    self.recent_events.remember(self.nodes.time(), &app, event);
                }
                Responsibility::Others | Responsibility::None => {}
            }
        }
    }

    /// Sends the count to the subscribers of this node. Returns false if there are too many, which receive it later.
    pub(super) fn send_count(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        count: u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if count > MANY {
            if let Some(state) = self.apps.get_mut(app) {
                state.uncounted.insert(channel.clone());
            }
            return false;
        }
        effects.push(Effect::Count { app: app.clone(), channel: channel.clone(), count });
        true
    }

    fn is_listed(&self, channel: &ChannelName) -> bool {
        self.dialect.kind(channel).is_listed
    }
}
