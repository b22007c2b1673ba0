//! What the node knows and has still to say. Pure; times are in milliseconds.

mod nodes;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use indexmap::IndexSet;

use super::app::{AppState, Local};
use super::said::{CachedEvent, NumberedChange, Said};
use super::snapshot::{OVERHEAD, PORTION, Walk};
use super::sweep::Sweep;
use super::waiting::{Awaited, Joining};
use crate::history::Shared;
use crate::message::{ChannelName, Member, SocketId};
use crate::presence::{Change, NodeName};
use crate::protocol::pusher::{App, Apps};
use crate::webhooks::TakeoverLog;

pub(super) use nodes::{SILENT_AFTER, TURN};

use nodes::Node;

/// So many changes go into one signal.
const BATCH: usize = 256;

/// With so many changes waiting to be said, or so many bytes of them, nobody joins.
const MAX_CHANGES: usize = 65_536;
const MAX_CHANGE_BYTES: usize = 16 * 1024 * 1024;

/// So many departures are remembered before the next snapshot lets every node forget them.
const MAX_DEPARTURES: usize = 1024;

#[derive(Debug)]
pub(super) struct State {
    pub(super) apps: HashMap<Arc<str>, AppState>,
    /// When this node says what it keeps of cache channels and nobody has said, if it has been asked.
    pub(super) cache_turn: Option<u64>,
    /// Joins that have been said, by their numbers, until they come back.
    pub(super) joining: HashMap<u64, Joining>,
    /// Channels of the first app whose topics the broker has still to confirm: nobody is told to be on them before.
    pub(super) awaited: HashMap<ChannelName, Awaited>,
    /// The channels of which the log says that their topics cannot be heard.
    pub(super) reserved_told: HashSet<ChannelName>,
    pub(super) due: Due,
    pub(super) takeover: TakeoverLog,
    nodes: HashMap<NodeName, Node>,
    own: NodeName,
    /// When this node was started, in milliseconds since the Unix epoch.
    since: u64,
    /// Milliseconds during which the others could be heard.
    pub(super) time: u64,
    /// The number of the last thing said about what is on this node.
    number: u64,
    changes: VecDeque<NumberedChange>,
    /// How many bytes they take.
    change_bytes: usize,
    /// What is left to say of a snapshot. No change may come in between.
    snapshot: Option<Walk>,
    /// What is out of date in the views and has still to be taken out of them.
    pub(super) sweeps: VecDeque<Sweep>,
    /// The channels whose number of connections has changed and is to be told.
    counts: IndexSet<(Arc<str>, ChannelName)>,
    departures: usize,
    /// How many entries a snapshot would have: counted, because the channels are too many to be walked at each departure.
    entries: usize,
    asked: Option<u64>,
    /// When something of the node's own last came back, in milliseconds of the hub's clock.
    pub(super) echo: u64,
    is_deaf: bool,
    /// This node has gone: what it hears now is for others.
    pub(super) has_left: bool,
}

/// What is to be said beside changes.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each may be due without the others")]
pub(super) struct Due {
    pub(super) ask: bool,
    pub(super) everything: bool,
    pub(super) alive: bool,
}

/// What to say next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) said: Said,
    /// The joins among the changes.
    pub(super) joins: Vec<u64>,
}

impl State {
    pub(super) fn new(apps: &Apps, own: NodeName, since: u64) -> Self {
        let apps = apps.iter().map(|app| (app.credentials.id().clone(), AppState::new(app.clone())));
        Self {
            apps: apps.collect(),
            cache_turn: None,
            joining: HashMap::new(),
            awaited: HashMap::new(),
            reserved_told: HashSet::new(),
            // A newcomer asks, and tells that it has nobody.
            due: Due { ask: true, everything: true, alive: false },
            takeover: TakeoverLog::default(),
            nodes: HashMap::new(),
            own,
            since,
            time: 0,
            number: 0,
            changes: VecDeque::new(),
            change_bytes: 0,
            snapshot: None,
            sweeps: VecDeque::new(),
            counts: IndexSet::new(),
            departures: 0,
            entries: 0,
            asked: None,
            echo: 0,
            is_deaf: false,
            has_left: false,
        }
    }

    /// Whether so much is waiting to be said that nobody can join.
    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= MAX_CHANGES || self.change_bytes >= MAX_CHANGE_BYTES
    }

    /// A connection comes onto a channel without members. Whether it is the node's first.
    pub(super) fn enter(&mut self, app: &Arc<str>, channel: &ChannelName) -> bool {
        let Some(state) = self.apps.get_mut(app) else { return false };
        let first = match state.local.entry(channel.clone()).or_insert(Local::Count(0)) {
            Local::Count(count) => {
                *count += 1;
                *count == 1
            }
            Local::Members(_) => false,
        };
        self.entries += usize::from(first);
        self.counts.insert((app.clone(), channel.clone()));
        first
    }

    /// A connection has come onto a channel whose number of subscribers is told. It is told when this node's number comes
    /// back, also if that has not changed because another connection has left meanwhile.
    pub(super) fn count_for_newcomer(&mut self, app: &Arc<str>, channel: &ChannelName) {
        if let Some(state) = self.apps.get_mut(app)
            && state.newcomers.insert(channel.clone())
        {
            self.counts.insert((app.clone(), channel.clone()));
        }
    }

    /// The channels with newcomers that have not been told the number of subscribers: nothing comes back that would.
    pub(super) fn take_newcomers(&mut self) -> Vec<(Arc<App>, ChannelName, u64)> {
        let mut waiting = Vec::new();
        for state in self.apps.values_mut() {
            for channel in std::mem::take(&mut state.newcomers) {
                let count = state.about(&self.own, &channel).subscriptions;
                waiting.push((state.app.clone(), channel, count));
            }
        }
        waiting
    }

    /// A connection is about to become a member of a channel. The number of its join, and whether it is the node's
    /// first connection there.
    pub(super) fn enter_as(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        member: Member,
    ) -> (u64, bool) {
        self.number += 1;
        let number = self.number;
        let Some(state) = self.apps.get_mut(app) else { return (number, false) };
        let local = state.local.entry(channel.clone()).or_insert_with(|| Local::Members(Box::default()));
        let mut first = false;
        if let Local::Members(members) = local {
            first = members.is_empty();
            let is_new = members.insert(connection, (number, member.clone())).is_none();
            self.entries += usize::from(is_new);
        }
        self.change(app, number, channel, Change::Join { connection, member });
        (number, first)
    }

    /// A connection leaves a channel; only if its join has this number, where one is given. Whether it was the
    /// node's last.
    pub(super) fn exit(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        join: Option<u64>,
    ) -> bool {
        let Some(state) = self.apps.get_mut(app) else { return false };
        let Some(local) = state.local.get_mut(channel) else { return false };
        let (is_member, last) = match local {
            Local::Count(count) => {
                *count = count.saturating_sub(1);
                (false, *count == 0)
            }
            Local::Members(members) => {
                let is_it = |(number, _): &(u64, Member)| join.is_none_or(|join| join == *number);
                if !members.get(&connection).is_some_and(is_it) {
                    return false;
                }
                members.swap_remove(&connection);
                if members.len() < members.capacity() / 8 {
                    members.shrink_to_fit();
                }
                (true, members.is_empty())
            }
        };
        self.entries -= usize::from(is_member || last);
        if last {
            state.local.swap_remove(channel);
            if state.local.len() < state.local.capacity() / 8 {
                state.local.shrink_to_fit();
            }
        }
        if is_member {
            self.number += 1;
            self.change(app, self.number, channel, Change::Leave { connection });
            self.departed();
        } else {
            self.counts.insert((app.clone(), channel.clone()));
            if last {
                self.departed();
            }
        }
        last
    }

    /// Nobody waits for a channel's topic any more.
    pub(super) fn unawait(&mut self, channel: &ChannelName) -> Option<Awaited> {
        let awaited = self.awaited.remove(channel)?;
        if self.awaited.len() < self.awaited.capacity() / 8 {
            self.awaited.shrink_to_fit();
        }
        Some(awaited)
    }

    /// So many connections of this node are on a channel without members.
    pub(super) fn local_count(&self, app: &str, channel: &ChannelName) -> u64 {
        match self.apps.get(app).and_then(|state| state.local.get(channel)) {
            Some(Local::Count(count)) => *count,
            _ => 0,
        }
    }

    fn change(&mut self, app: &Arc<str>, number: u64, channel: &ChannelName, change: Change) {
        if self.is_full() {
            // The snapshot will tell.
            self.due.everything = true;
            return;
        }
        let (app, channel) = (app.clone(), channel.as_str().into());
        let change = NumberedChange { app, number, channel, change };
        self.change_bytes += change.bytes();
        self.changes.push_back(change);
    }

    fn departed(&mut self) {
        self.departures += 1;
        if self.departures > MAX_DEPARTURES && self.departures > self.entries {
            self.departures = 0;
            self.due.everything = true;
        }
    }

    /// What to say next, most urgent first.
    pub(super) fn next(&mut self) -> Option<Next> {
        let say = |said| Some(Next { said, joins: Vec::new() });
        if let Some(said) = self.next_portion() {
            return say(said);
        }
        if std::mem::take(&mut self.due.ask) {
            self.asked = Some(self.time);
            return say(Said::Ask);
        }
        if !self.changes.is_empty() || !self.counts.is_empty() {
            return Some(self.next_changes());
        }
        if std::mem::take(&mut self.due.everything) {
            self.begin_snapshot();
            return self.next_portion().and_then(say);
        }
        if std::mem::take(&mut self.due.alive) {
            return say(Said::Alive);
        }
        None
    }

    /// Leaves the changes that wait to the next snapshot. The joins among them.
    pub(super) fn give_changes_up(&mut self) -> Vec<u64> {
        if !self.changes.is_empty() || !self.counts.is_empty() {
            self.due.everything = true;
        }
        self.counts.clear();
        self.change_bytes = 0;
        let joins = self.changes.drain(..).filter(|change| matches!(change.change, Change::Join { .. }));
        joins.map(|change| change.number).collect()
    }

    fn next_changes(&mut self) -> Next {
        let mut bytes = 0;
        let fits = |change: &&NumberedChange| {
            let is_first = bytes == 0;
            bytes += change.bytes();
            is_first || bytes <= PORTION
        };
        let count = self.changes.iter().take(BATCH).take_while(fits).count();
        let mut changes: Vec<NumberedChange> = self.changes.drain(..count).collect();
        self.change_bytes -= changes.iter().map(NumberedChange::bytes).sum::<usize>();
        let joins = changes.iter().filter(|change| matches!(change.change, Change::Join { .. }));
        let joins = joins.map(|change| change.number).collect();
        while changes.len() < BATCH {
            let Some((app, channel)) = self.counts.pop() else { break };
            self.number += 1;
            let change = Change::Count(self.local_count(&app, &channel));
            let channel = channel.as_str().into();
            changes.push(NumberedChange { app, number: self.number, channel, change });
        }
        if self.counts.is_empty() && self.changes.is_empty() {
            // After a burst they would keep the room for all of it.
            self.counts.shrink_to(BATCH);
            self.changes.shrink_to(BATCH);
        }
        Next { said: Said::Changes(changes), joins }
    }

    fn begin_snapshot(&mut self) {
        self.number += 1;
        self.departures = 0;
        self.snapshot = Some(Walk::new(self.number, self.apps.keys().cloned()));
    }

    fn next_portion(&mut self) -> Option<Said> {
        let (said, is_last) =
            self.snapshot.as_mut()?.next(|app| self.apps.get(app).map(|state| &state.local));
        if is_last {
            self.snapshot = None;
        }
        Some(said)
    }

    /// Not all of the last snapshot was heard: it has to be said anew.
    pub(super) fn repeat_snapshot(&mut self) {
        self.snapshot = None;
        self.due.everything = true;
    }

    /// Somebody has asked what is kept of cache channels.
    pub(super) fn asked_for_caches(&mut self, node: &NodeName, now: u64) {
        for app in self.apps.values_mut() {
            app.cache.ask();
        }
        let turn = now + self.turn_after(node, now);
        self.cache_turn = self.has_others().then_some(turn);
    }

    /// The next of the cache channels' last events that this node has to say; there may be more also where this is empty.
    /// Nothing: it is not its turn, or all is said.
    pub(super) fn next_cached(&mut self, now: u64, cache_now: u64) -> Option<Vec<CachedEvent>> {
        /// So many entries are looked at while the state is locked.
        const LOOKED_AT: usize = 4096;
        self.cache_turn.filter(|turn| *turn <= now)?;
        let (mut portion, mut bytes) = (Vec::new(), 0);
        for (app, state) in &mut self.apps {
            let add = |event: Shared<'_>| {
                bytes += event.bytes() + OVERHEAD;
                portion.push(CachedEvent::new(app, &event));
                bytes < PORTION
            };
            if state.cache.say(cache_now, LOOKED_AT, add) {
                return Some(portion);
            }
        }
        if portion.is_empty() {
            self.cache_turn = None;
            return None;
        }
        Some(portion)
    }

    /// What was said of caches did not reach the others: all of it is to be said anew.
    pub(super) fn repeat_caches(&mut self, now: u64) {
        for app in self.apps.values_mut() {
            app.cache.ask();
        }
        self.cache_turn = Some(now + TURN);
    }
}

#[cfg(test)]
mod tests;
