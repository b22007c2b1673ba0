//! The subscribers and members of all channels in the cluster, as far as this node has been told: a replicated map.
//!
//! Every node sends the others its changes, numbered, and now and then everything (a snapshot). Messages may be lost,
//! repeated and reordered: a change counts if its number is higher than that of the last one about the same
//! connection, and a snapshot replaces everything with a lower number. So the views of all nodes converge, and the effect of a
//! lost change ends with the next snapshot. A node treats itself like the others: it applies its own changes and snapshots to
//! its own view.

mod channel;
mod transitions;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::message::{ChannelName, Member, NodeName, SocketId, UserId};
use channel::ChannelView;
use transitions::Transitions;

/// A change on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A connection has joined a presence channel.
    Join { connection: SocketId, member: Member },
    /// A connection has left a presence channel.
    Leave { connection: SocketId },
    /// How many of the node's connections are on a channel that is not a presence channel.
    Count(u64),
}

/// All that is on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The connections on presence channels.
    pub members: Vec<(ChannelName, SocketId, Member)>,
    /// The numbers of connections on the other channels, without those that are 0.
    pub counts: Vec<(ChannelName, u64)>,
}

/// An entry of a node, as it has reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// A connection on a presence channel.
    Member(ChannelName, SocketId, Member),
    /// The number of connections on another channel.
    Count(ChannelName, u64),
}

impl Reported {
    /// The length of its texts in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Member(channel, _, member) => channel.as_str().len() + member.text_bytes(),
            Self::Count(channel, _) => channel.as_str().len(),
        }
    }
}

/// What a change on a node changes in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The first connection is on the channel.
    Occupied(ChannelName),
    /// The last connection has left the channel.
    Vacated(ChannelName),
    /// The user's first connection is on the channel. All but the user's own connections are told.
    MemberAdded(ChannelName, Member),
    /// The user's last connection has left the channel.
    MemberRemoved(ChannelName, Member),
    /// The number of connections on the channel has changed.
    Count(ChannelName, u64),
}

/// The view of one app's channels in the cluster.
///
/// `now` is in milliseconds, of a clock that never goes back.
#[derive(Debug, Default)]
pub struct Presence {
    nodes: HashMap<NodeName, NodeView>,
    channels: IndexMap<ChannelName, ChannelView>,
}

/// What a node has sent.
#[derive(Debug, Default)]
struct NodeView {
    /// When it was last heard.
    heard: u64,
    /// The highest number that it has used.
    latest: u64,
    /// The number of the last snapshot: older changes no longer count.
    floor: u64,
    /// Silent for too long: only a snapshot that is newer than all it has sent brings it back.
    is_lost: bool,
    entries: IndexMap<Subject, Entry>,
    /// Entries with a lower number are out of date.
    keep_from: u64,
    /// How many entries, from the first one, may be out of date.
    unswept: usize,
}

/// What a change is about: a connection on a presence channel, or all of the node's on another one. Boxed, because most channels are
/// no presence channels.
type Subject = (ChannelName, Option<Box<SocketId>>);

#[derive(Debug)]
struct Entry {
    number: u64,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Remembered until the next snapshot: an older change may still be under way.
    Nobody,
    Member(Arc<Member>),
    Count(u64),
}

/// A node is forgotten after this many times the limit of silence.
const FORGET_AFTER: u64 = 10;

impl Presence {
    /// Applies a change. The numbers of a node start at 1 and rise with every change of this app.
    pub fn change(
        &mut self,
        node: &NodeName,
        number: u64,
        channel: &ChannelName,
        change: Change,
        now: u64,
    ) -> Vec<Transition> {
        let view = self.nodes.entry(node.clone()).or_default();
        view.heard = view.heard.max(now);
        let (connection, what) = match change {
            Change::Join { connection, member } => (Some(connection), What::Member(Arc::new(member))),
            Change::Leave { connection } => (Some(connection), What::Nobody),
            Change::Count(0) => (None, What::Nobody),
            Change::Count(count) => (None, What::Count(count)),
        };
        let subject = (channel.clone(), connection.map(Box::new));
        let before = view.entries.get(&subject).map_or(view.floor, |entry| entry.number);
        if view.is_lost || number <= view.floor || number <= before {
            view.latest = view.latest.max(number);
            return Vec::new();
        }
        view.latest = view.latest.max(number);
        let mut transitions = Transitions::new(&mut self.channels);
        let old = view.entries.insert(subject.clone(), Entry { number, what: what.clone() });
        transitions.replace(node, &subject, old.map(|entry| entry.what), Some(what));
        transitions.finish()
    }

    /// Applies a part of the snapshot of a node. Entries that it lacks stay until [`snapshot_ends`](Self::snapshot_ends).
    pub fn snapshot_part(
        &mut self,
        node: &NodeName,
        number: u64,
        part: Snapshot,
        now: u64,
    ) -> Vec<Transition> {
        let view = self.nodes.entry(node.clone()).or_default();
        view.heard = view.heard.max(now);
        if view.is_outdated(number) {
            return Vec::new();
        }
        view.is_lost = false;
        view.latest = view.latest.max(number);
        let members = part.members.into_iter();
        let members = members.map(|(channel, connection, member)| {
            ((channel, Some(Box::new(connection))), What::Member(Arc::new(member)))
        });
        let counts = part.counts.into_iter().filter(|(_, count)| *count > 0);
        let counts = counts.map(|(channel, count)| ((channel, None), What::Count(count)));
        let mut transitions = Transitions::new(&mut self.channels);
        for (subject, what) in members.chain(counts) {
            if view.entries.get(&subject).is_some_and(|entry| entry.number > number) {
                continue;
            }
            let old = view.entries.insert(subject.clone(), Entry { number, what: what.clone() });
            transitions.replace(node, &subject, old.map(|entry| entry.what), Some(what));
        }
        transitions.finish()
    }

    /// All parts of a node's snapshot have arrived: other entries of the node are out of date, and [`sweep`](Self::sweep) removes
    /// them.
    pub fn snapshot_ends(&mut self, node: &NodeName, number: u64) {
        let Some(view) = self.nodes.get_mut(node).filter(|view| !view.is_outdated(number)) else { return };
        view.floor = number;
        view.sweep_below(number);
    }

    /// Looks at `most` entries of a node at most, and removes those that are out of date. `None` if there is nothing left to look
    /// at.
    ///
    /// Entries come and go in between: the walk goes from the last one to the first, so that what moves into the gap of a removed
    /// one has been looked at, or is newer.
    pub fn sweep(&mut self, node: &NodeName, most: usize) -> Option<Vec<Transition>> {
        let view = self.nodes.get_mut(node).filter(|view| view.unswept > 0)?;
        let mut transitions = Transitions::new(&mut self.channels);
        view.unswept = view.unswept.min(view.entries.len());
        for _ in 0..most.min(view.unswept) {
            view.unswept -= 1;
            let index = view.unswept;
            if view.entries.get_index(index).is_some_and(|(_, entry)| entry.number < view.keep_from)
                && let Some((subject, entry)) = view.entries.swap_remove_index(index)
            {
                transitions.replace(node, &subject, Some(entry.what), None);
            }
        }
        if view.unswept == 0 && view.entries.len() < view.entries.capacity() / 8 {
            view.entries.shrink_to_fit();
        }
        Some(transitions.finish())
    }

    /// Notes that a node is alive.
    pub fn heard(&mut self, node: &NodeName, now: u64) {
        let view = self.nodes.entry(node.clone()).or_default();
        view.heard = view.heard.max(now);
    }

    /// A node is lost, with all that was on it: [`sweep`](Self::sweep) removes that. Changes that are still under way no longer
    /// count; if the node is alive after all, its next snapshot brings it back.
    pub fn lose(&mut self, node: &NodeName, now: u64) {
        let view =
            self.nodes.entry(node.clone()).or_insert_with(|| NodeView { heard: now, ..NodeView::default() });
        view.is_lost = true;
        // Whatever comes after this has a higher number.
        view.sweep_below(view.latest.saturating_add(1));
    }

    /// Loses the nodes that have been silent for longer than `limit` milliseconds, but never `own`. Returns them.
    pub fn lose_silent(&mut self, own: &NodeName, limit: u64, now: u64) -> Vec<NodeName> {
        let silent = |view: &NodeView, limit: u64| now.saturating_sub(view.heard) > limit;
        self.nodes.retain(|node, view| {
            node == own
                || !view.is_lost
                || view.unswept > 0
                || !silent(view, limit.saturating_mul(FORGET_AFTER))
        });
        let lost: Vec<NodeName> = self
            .nodes
            .iter()
            .filter(|(node, view)| *node != own && !view.is_lost && silent(view, limit))
            .map(|(node, _)| node.clone())
            .collect();
        for node in &lost {
            self.lose(node, now);
        }
        lost
    }

    /// At most `most` entries of a node.
    #[must_use]
    pub fn entries_of(&self, node: &NodeName, most: usize) -> Vec<Reported> {
        let entries = self.nodes.get(node).into_iter().flat_map(|view| &view.entries);
        let reported = entries.filter_map(|((channel, connection), entry)| match (&entry.what, connection) {
            (What::Member(member), Some(connection)) => {
                Some(Reported::Member(channel.clone(), **connection, (**member).clone()))
            }
            (What::Count(count), _) => Some(Reported::Count(channel.clone(), *count)),
            _ => None,
        });
        reported.take(most).collect()
    }

    /// The channels that have a subscriber, with how many, in no order.
    #[cfg(test)]
    pub(crate) fn channels(&self) -> impl Iterator<Item = (&ChannelName, u64)> {
        self.channels.iter().map(|(name, view)| (name, view.connections()))
    }

    /// At most `most` channels that have a subscriber, of those before `end`, and sets `end` to where to go on: 0 if these were
    /// the last. A walk that starts at `usize::MAX` visits all channels that stay.
    pub fn channels_before(
        &self,
        end: &mut usize,
        most: usize,
    ) -> impl Iterator<Item = &ChannelName> + use<'_> {
        let last = self.channels.len().min(*end);
        *end = last.saturating_sub(most);
        self.channels.get_range(*end..last).into_iter().flat_map(|range| range.keys())
    }

    /// How many connections are on a channel.
    #[must_use]
    pub fn connections(&self, channel: &ChannelName) -> u64 {
        self.channels.get(channel).map_or(0, ChannelView::connections)
    }

    /// How many of them are on this node and are no members, as it has told.
    #[must_use]
    pub fn count_of(&self, node: &NodeName, channel: &ChannelName) -> u64 {
        let entry = self.nodes.get(node).and_then(|view| view.entries.get(&(channel.clone(), None)));
        if let Some(Entry { what: What::Count(count), .. }) = entry { *count } else { 0 }
    }

    /// The members of a presence channel, in the order of their ids.
    #[must_use]
    pub fn members(&self, channel: &ChannelName) -> Vec<Member> {
        self.channels.get(channel).map_or_else(Vec::new, ChannelView::members)
    }

    /// How many members a presence channel has.
    #[must_use]
    pub fn member_count(&self, channel: &ChannelName) -> usize {
        self.channels.get(channel).map_or(0, ChannelView::member_count)
    }

    /// Whether this user is a member.
    #[must_use]
    pub fn is_member(&self, channel: &ChannelName, user_id: &UserId) -> bool {
        self.channels.get(channel).is_some_and(|view| view.has(user_id))
    }
}

impl NodeView {
    /// Whether a snapshot with this number contains nothing new.
    fn is_outdated(&self, number: u64) -> bool {
        (self.is_lost && number <= self.latest) || number <= self.floor
    }

    fn sweep_below(&mut self, number: u64) {
        self.keep_from = number;
        self.unswept = self.entries.len();
    }
}

#[cfg(test)]
mod tests;
