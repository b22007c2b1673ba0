use std::collections::{HashMap, HashSet};
use std::fmt;

use indexmap::IndexMap;

use super::AppRules;
use super::pending::Termination;
use crate::history::LastEvents;
use crate::message::{ChannelInfo, ChannelName, Member, NodeName, SocketId, UserId};
use crate::presence::{Change, Presence};

/// The state of an app on this node.
#[derive(Debug)]
pub(super) struct AppState {
    pub(super) rules: AppRules,
    pub(super) has_webhooks: bool,
    /// On all nodes, as they have reported.
    pub(super) view: Presence,
    pub(super) history: LastEvents,
    /// The connections of this node that are signed in.
    pub(super) users: HashMap<SocketId, SignedIn>,
    /// Channels whose subscribers have not received the current count yet.
    pub(super) uncounted: HashSet<ChannelName>,
    /// Channels with new subscribers on this node that have not received a count yet.
    pub(super) awaiting_count: HashSet<ChannelName>,
    /// On this node, including pending joins.
    pub(super) local: Locals,
}

/// A connection that is signed in.
pub(super) struct SignedIn {
    pub(super) user: UserId,
    pub(super) terminate: Termination,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedIn").field(&self.user).finish()
    }
}

/// By channel. Removing an entry moves the last one into the gap, on which [`Walk`](super::snapshot::Walk) relies.
pub(super) type Locals = IndexMap<ChannelName, Local>;

/// The connections of this node on a channel.
#[derive(Debug)]
pub(super) enum Local {
    Count(u64),
    /// With the number of each join. Boxed, because most channels have no members.
    Members(Box<IndexMap<SocketId, (u64, Member)>>),
}

impl AppState {
    pub(super) fn new(rules: AppRules, has_webhooks: bool) -> Self {
        Self {
            rules,
            has_webhooks,
            view: Presence::default(),
            history: LastEvents::default(),
            users: HashMap::new(),
            uncounted: HashSet::new(),
            awaiting_count: HashSet::new(),
            local: Locals::new(),
        }
    }

    /// Whether there is room on a presence channel for a connection of this user. Pending joins of this
    /// node count; those of other nodes are resolved when they come back.
    pub(super) fn has_room(&self, channel: &ChannelName, member: &Member) -> bool {
        let is_new = |user: &Member| !self.view.is_member(channel, &user.user_id);
        // Without a limit, the pending joins need not be counted.
        if self.rules.presence_members == usize::MAX || !is_new(member) {
            return true;
        }
        let mut coming: HashSet<&UserId> = HashSet::new();
        if let Some(Local::Members(members)) = self.local.get(channel)
            && members.len() > self.view.member_count(channel)
        {
            let new = members.values().filter(|(_, user)| is_new(user));
            coming.extend(new.map(|(_, user)| &user.user_id));
        }
        coming.contains(&member.user_id)
            || self.view.member_count(channel) + coming.len() < self.rules.presence_members
    }

    /// The subscribers of a channel in the cluster. Changes of this node that it has not sent yet are included, so that
    /// a connection counts as soon as its client knows that it is subscribed.
    pub(super) fn info(&self, own: &NodeName, channel: &ChannelName) -> ChannelInfo {
        let sent = self.view.count_of(own, channel);
        let subscriptions = self.view.connections(channel).saturating_sub(sent);
        let subscriptions = subscriptions.saturating_add(self.local_count(channel));
        ChannelInfo { subscriptions, members: self.view.member_count(channel) }
    }

    /// How many connections of this node are on a channel without members.
    pub(super) fn local_count(&self, channel: &ChannelName) -> u64 {
        if let Some(Local::Count(count)) = self.local.get(channel) { *count } else { 0 }
    }

    /// The channel's name as the copy that all of its subscribers share.
    pub(super) fn shared_name(&self, channel: &ChannelName) -> ChannelName {
        self.local.get_key_value(channel).map_or_else(|| channel.clone(), |(name, _)| name.clone())
    }

    /// Gives a change the texts of the member that is on this node.
    pub(super) fn share_member(&self, channel: &ChannelName, change: &mut Change) {
        if let Change::Join { connection, member } = change
            && let Some(Local::Members(members)) = self.local.get(channel)
            && let Some((_, own)) = members.get(connection)
            && own == member
        {
            *member = own.clone();
        }
    }
}
