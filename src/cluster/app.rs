use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::peer::Peer;
use crate::history::History;
use crate::hub::ConnectionId;
use crate::message::{ChannelName, Member, SocketId, UserId};
use crate::presence::{NodeName, Presence};
use crate::protocol::pusher::App;
use crate::protocol::pusher::http::ChannelInfo;

/// An app, as far as it is known here.
#[derive(Debug)]
pub(super) struct AppState {
    pub(super) app: Arc<App>,
    /// On all nodes, as they have told.
    pub(super) view: Presence,
    pub(super) cache: History,
    /// This node's connections that are signed in.
    pub(super) users: HashMap<ConnectionId, Arc<Peer>>,
    /// Channels whose subscribers have still to hear how many they are.
    pub(super) uncounted: HashSet<ChannelName>,
    /// The channels onto which connections of this node have come that have not been told the number of subscribers yet.
    pub(super) newcomers: HashSet<ChannelName>,
    /// On this node, as it is, joins under way included.
    pub(super) local: Locals,
}

/// By channel. Removing from it moves the last entry into the gap, on which [`Walk`](super::snapshot::Walk) relies.
pub(super) type Locals = IndexMap<ChannelName, Local>;

/// The connections of this node on a channel.
#[derive(Debug)]
pub(super) enum Local {
    Count(u64),
    /// With the number of each one's join.
    ///
    /// Apart, for most channels have none, and each would have room for them.
    Members(Box<IndexMap<SocketId, (u64, Member)>>),
}

impl AppState {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            view: Presence::default(),
            cache: History::default(),
            users: HashMap::new(),
            uncounted: HashSet::new(),
            newcomers: HashSet::new(),
            local: Locals::new(),
        }
    }

    /// Whether there is room on a presence channel for a connection of this user. Joins of this node that are under
    /// way count; those of others are settled when they come back.
    pub(super) fn has_room(&self, channel: &ChannelName, member: &Member) -> bool {
        let is_new = |user: &Member| !self.view.is_member(channel, &user.user_id);
        if !is_new(member) {
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
            || self.view.member_count(channel) + coming.len() < self.app.rules.presence_members
    }

    /// Who is on a channel in the cluster. What this node has still to tell counts already, so that who has been told to
    /// be on a channel is.
    pub(super) fn about(&self, own: &NodeName, channel: &ChannelName) -> ChannelInfo {
        let told = self.view.count_of(own, channel);
        let here = if let Some(Local::Count(count)) = self.local.get(channel) { *count } else { 0 };
        let subscriptions = self.view.connections(channel).saturating_sub(told).saturating_add(here);
        ChannelInfo { subscriptions, members: self.view.member_count(channel) }
    }
}
