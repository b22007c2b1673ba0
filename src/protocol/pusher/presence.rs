//! Who is on which channel in the whole cluster, as far as this node has heard.
//!
//! Every node tells every other one what changes on it, numbered, and now and then everything that is (a snapshot). The
//! way may lose, repeat and reorder: a change counts if its number is higher than that of the last one about the same
//! connection, and a snapshot settles all that has a lower number. So the views of all nodes come to agree, and nothing
//! of a lost change is left after the next snapshot. A node treats itself as it treats the others: it gives its own
//! changes and snapshots to its own view too.

mod channel;
mod transitions;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::socket_id::SocketId;
use super::user::{Member, UserId};
use crate::message::ChannelName;
use channel::ChannelView;
use transitions::Transitions;

/// A node's name: a new one at every start, so that what an earlier life said is never mistaken for this one's.
pub type NodeName = Arc<str>;

/// Something that a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A connection is on a presence channel.
    Join {
        /// Which connection.
        connection: SocketId,
        /// As whom.
        member: Member,
    },
    /// A connection is off a presence channel.
    Leave {
        /// Which connection.
        connection: SocketId,
    },
    /// How many of the node's connections are on a channel that is not a presence channel.
    Count(u64),
}

/// All that is on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The connections on presence channels.
    pub members: Vec<(ChannelName, SocketId, Member)>,
    /// The numbers of connections on the other channels; those without any are left out.
    pub counts: Vec<(ChannelName, u64)>,
}

/// What has changed for the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The first connection is on the channel.
    Occupied(ChannelName),
    /// The last connection has left the channel.
    Vacated(ChannelName),
    /// The user's first connection is on the channel. It is told to all but the user's own connections.
    MemberAdded(ChannelName, Member),
    /// The user's last connection has left the channel.
    MemberRemoved(ChannelName, UserId),
    /// So many connections are on the channel now.
    Count(ChannelName, u64),
}

/// The view of one app's channels in the cluster.
///
/// `now` is in milliseconds, of a clock that never goes back.
#[derive(Debug, Default)]
pub struct Presence {
    nodes: HashMap<NodeName, NodeView>,
    channels: HashMap<ChannelName, ChannelView>,
}

/// What a node has said.
#[derive(Debug, Default)]
struct NodeView {
    /// When it last said anything.
    heard: u64,
    /// The highest number that it has used.
    latest: u64,
    /// The number of the snapshot: whatever is older counts no more.
    floor: u64,
    /// Silent for too long: only a snapshot that is newer than all it has said brings it back.
    is_lost: bool,
    entries: HashMap<Subject, Entry>,
}

/// What a change is about: a connection on a presence channel, or all of the node's on another one.
type Subject = (ChannelName, Option<SocketId>);

#[derive(Debug)]
struct Entry {
    number: u64,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Remembered until the next snapshot: an older change may still be on its way.
    Nobody,
    Member(Member),
    Count(u64),
}

/// A node that has been silent for so many times the limit is forgotten altogether.
const FORGET_AFTER: u64 = 10;

impl Presence {
    /// Takes a change. The numbers of a node start at 1 and rise with everything that it says of this app.
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
            Change::Join { connection, member } => (Some(connection), What::Member(member)),
            Change::Leave { connection } => (Some(connection), What::Nobody),
            Change::Count(0) => (None, What::Nobody),
            Change::Count(count) => (None, What::Count(count)),
        };
        let subject = (channel.clone(), connection);
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

    /// Takes all that is on a node, as of this number.
    pub fn snapshot(
        &mut self,
        node: &NodeName,
        number: u64,
        snapshot: Snapshot,
        now: u64,
    ) -> Vec<Transition> {
        let view = self.nodes.entry(node.clone()).or_default();
        view.heard = view.heard.max(now);
        if (view.is_lost && number <= view.latest) || number <= view.floor {
            return Vec::new();
        }
        view.is_lost = false;
        view.floor = number;
        view.latest = view.latest.max(number);
        let members = snapshot.members.into_iter();
        let members =
            members.map(|(channel, connection, member)| ((channel, Some(connection)), What::Member(member)));
        let counts = snapshot.counts.into_iter().filter(|(_, count)| *count > 0);
        let counts = counts.map(|(channel, count)| ((channel, None), What::Count(count)));
        let mut said: HashMap<Subject, What> = members.chain(counts).collect();

        let mut transitions = Transitions::new(&mut self.channels);
        view.entries.retain(|subject, entry| {
            if entry.number > number {
                // It is newer than the snapshot.
                said.remove(subject);
                return true;
            }
            let new = said.remove(subject);
            let stays = new.is_some();
            let old = std::mem::replace(&mut entry.what, new.clone().unwrap_or(What::Nobody));
            entry.number = number;
            transitions.replace(node, subject, Some(old), new);
            stays
        });
        for (subject, what) in said {
            transitions.replace(node, &subject, None, Some(what.clone()));
            view.entries.insert(subject, Entry { number, what });
        }
        transitions.finish()
    }

    /// Notes that a node is alive although it has nothing to say.
    pub fn heard(&mut self, node: &NodeName, now: u64) {
        let view = self.nodes.entry(node.clone()).or_default();
        view.heard = view.heard.max(now);
    }

    /// A node is gone, with all that was on it. Changes that are still on their way count no more; if it is alive after
    /// all, its next snapshot brings it back.
    pub fn lose(&mut self, node: &NodeName, now: u64) -> Vec<Transition> {
        let view =
            self.nodes.entry(node.clone()).or_insert_with(|| NodeView { heard: now, ..NodeView::default() });
        view.is_lost = true;
        let mut transitions = Transitions::new(&mut self.channels);
        for (subject, entry) in view.entries.drain() {
            transitions.replace(node, &subject, Some(entry.what), None);
        }
        transitions.finish()
    }

    /// Loses the nodes that have been silent for longer than `limit` milliseconds, but never `own`.
    pub fn lose_silent(&mut self, own: &NodeName, limit: u64, now: u64) -> Vec<Transition> {
        let silent = |view: &NodeView, limit: u64| now.saturating_sub(view.heard) > limit;
        self.nodes.retain(|node, view| {
            node == own || !view.is_lost || !silent(view, limit.saturating_mul(FORGET_AFTER))
        });
        let lost: Vec<NodeName> = self
            .nodes
            .iter()
            .filter(|(node, view)| *node != own && !view.is_lost && silent(view, limit))
            .map(|(node, _)| node.clone())
            .collect();
        lost.iter().flat_map(|node| self.lose(node, now)).collect()
    }

    /// The channels that have a subscriber, with how many, in no order.
    pub fn channels(&self) -> impl Iterator<Item = (&ChannelName, u64)> {
        self.channels.iter().map(|(name, view)| (name, view.connections()))
    }

    /// How many connections are on a channel.
    #[must_use]
    pub fn connections(&self, channel: &ChannelName) -> u64 {
        self.channels.get(channel).map_or(0, ChannelView::connections)
    }

    /// How many of them are a node's own and no members, as it has told.
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

    /// Whether this user is a member already: then another connection takes no room.
    #[must_use]
    pub fn is_member(&self, channel: &ChannelName, user_id: &UserId) -> bool {
        self.channels.get(channel).is_some_and(|view| view.has(user_id))
    }
}

#[cfg(test)]
mod tests;
