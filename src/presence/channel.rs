use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Transition;
use crate::message::{ChannelName, Member, NodeName, SocketId, UserId};

/// One channel, on all nodes.
#[derive(Debug, Default)]
pub(super) struct ChannelView {
    /// Connections that are no members.
    pub(super) count: u64,
    /// Boxed, because most channels have no members.
    members: Option<Box<Members>>,
}

#[derive(Debug, Default)]
struct Members {
    /// How many connections they have.
    connections: u64,
    /// By the text of their ids.
    users: BTreeMap<String, UserView>,
}

/// A member, and its connections.
#[derive(Debug)]
struct UserView {
    member: Arc<Member>,
    /// Sorted. Few: a set would take ten times as much memory per member.
    connections: Vec<(NodeName, Option<SocketId>)>,
}

impl ChannelView {
    pub(super) fn connections(&self) -> u64 {
        self.count.saturating_add(self.members.as_ref().map_or(0, |members| members.connections))
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let users = self.members.iter().flat_map(|members| members.users.values());
        users.map(|user| (*user.member).clone()).collect()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.as_ref().map_or(0, |members| members.users.len())
    }

    pub(super) fn has(&self, user_id: &UserId) -> bool {
        self.member(user_id).is_some()
    }

    fn member(&self, user_id: &UserId) -> Option<&Member> {
        self.members.as_ref()?.users.get(&*user_id.to_text()).map(|user| &*user.member)
    }

    /// The data of a user are those of its first connection, until the last one has left.
    pub(super) fn add(&mut self, node: &NodeName, connection: Option<SocketId>, member: Arc<Member>) {
        let key = member.user_id.to_text().into_owned();
        let members = self.members.get_or_insert_default();
        let new = || UserView { member, connections: Vec::with_capacity(1) };
        let user = members.users.entry(key).or_insert_with(new);
        let connection = (node.clone(), connection);
        if let Err(position) = user.connections.binary_search(&connection) {
            user.connections.insert(position, connection);
            members.connections += 1;
        }
    }

    pub(super) fn remove(&mut self, node: &NodeName, connection: Option<SocketId>, user_id: &UserId) {
        let Some(members) = &mut self.members else { return };
        let Some(user) = members.users.get_mut(&*user_id.to_text()) else { return };
        if let Ok(position) = user.connections.binary_search(&(node.clone(), connection)) {
            user.connections.remove(position);
            members.connections -= 1;
        }
        if user.connections.is_empty() {
            members.users.remove(&*user_id.to_text());
        }
    }

    /// The state before a change, to compare with the one after it.
    pub(super) fn before(&self) -> Before {
        Before { connections: self.connections(), users: IndexMap::new() }
    }
}

/// A channel before a change.
#[derive(Debug)]
pub(super) struct Before {
    connections: u64,
    /// The users that the change is about, as the members that they were.
    users: IndexMap<UserId, Option<Member>>,
}

impl Before {
    pub(super) fn note(&mut self, view: &ChannelView, user_id: &UserId) {
        if !self.users.contains_key(user_id) {
            self.users.insert(user_id.clone(), view.member(user_id).cloned());
        }
    }

    /// Appends what has changed, in the order in which a subscriber should see it.
    pub(super) fn compare(self, name: &ChannelName, view: &ChannelView, transitions: &mut Vec<Transition>) {
        let connections = view.connections();
        if self.connections == 0 && connections > 0 {
            transitions.push(Transition::Occupied(name.clone()));
        }
        for (user_id, before) in self.users {
            match (before, view.member(&user_id)) {
                (None, Some(member)) => {
                    transitions.push(Transition::MemberAdded(name.clone(), member.clone()));
                }
                (Some(member), None) => transitions.push(Transition::MemberRemoved(name.clone(), member)),
                _ => {}
            }
        }
        if self.connections != connections {
            transitions.push(Transition::Count(name.clone(), connections));
        }
        if self.connections > 0 && connections == 0 {
            transitions.push(Transition::Vacated(name.clone()));
        }
    }
}
