//! The operations of a connection on its channels. A connection that has to wait passes in a completion.

use std::sync::Arc;

use thiserror::Error;

use super::app::{Local, SignedIn};
use super::pending::PendingJoin;
use super::reserved_channels::{CONNECTIONS, USERS, watched};
use super::{Channels, Completion, JoinError, Termination};
use crate::hub::ConnectionId;
use crate::message::{ChannelName, Frame, Member, SocketId, UserId};
use crate::webhooks::WebhookEvent;

/// The app has reached its limit of connections on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the app has as many connections as it may have")]
pub struct OverQuota;

/// The reply to a new subscriber of a channel.
#[derive(Debug)]
pub struct Attachment {
    /// The channel's name as the copy that all subscribers share.
    pub channel: ChannelName,
    /// The members of a presence channel, itself included.
    pub members: Vec<Member>,
    /// The last event of a cache channel, encoded.
    pub last_event: Option<Frame>,
}

impl Channels {
    /// Counts a connection of an app, until [`disconnect`](Self::disconnect).
    pub fn connect(&self, app: &Arc<str>) -> Result<(), OverQuota> {
        {
            let mut state = self.state();
            let Some(app_state) = state.apps.get(app) else { return Ok(()) };
            let limit = u64::try_from(app_state.rules.connections).unwrap_or(u64::MAX);
            if limit > 0 && app_state.local_count(&CONNECTIONS) >= limit {
                return Err(OverQuota);
            }
            state.enter(app, &CONNECTIONS);
        }
        self.outbound.notify_one();
        self.metrics.pusher_connections.inc();
        Ok(())
    }

    pub fn disconnect(&self, app: &Arc<str>, connection: SocketId) {
        self.exit(app, &CONNECTIONS, connection);
        self.metrics.pusher_connections.dec();
    }

    /// The name of a connection of this node in the cluster.
    #[must_use]
    pub fn socket_id(&self, connection: ConnectionId) -> SocketId {
        self.socket_ids.name(connection)
    }

    /// Milliseconds of the clock that connections are given.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.now()
    }

    /// Makes a connection a member of a channel. This takes effect when every node can know it: when the join has come back
    /// from the broker, `completion` is called, and then the connection may [`attach`](Self::attach).
    pub fn join(
        &self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        member: Member,
        completion: impl FnOnce() -> Completion,
    ) -> Result<(), JoinError> {
        let mut state = self.state();
        if state.changes.is_full() {
            return Err(JoinError::Unavailable);
        }
        let Some(app_state) = state.apps.get(app) else { return Err(JoinError::Unavailable) };
        if !app_state.has_room(channel, &member) {
            return Err(JoinError::Full(app_state.rules.presence_members));
        }
        let number = state.enter_as(app, channel, connection, member);
        let (app, channel, completion) = (app.clone(), channel.clone(), completion());
        state.joins.insert(number, PendingJoin { app, channel, connection, completion });
        drop(state);
        self.outbound.notify_one();
        Ok(())
    }

    /// Makes a connection a member of a channel, unless it is one already. Nobody waits for that, and no client is told: what the broker
    /// does not accept, the next snapshot contains.
    pub fn add_member(
        &self,
        app: &Arc<str>,
        channel: &ChannelName,
        connection: SocketId,
        member: impl FnOnce() -> Member,
    ) {
        let mut state = self.state();
        let Some(app_state) = state.apps.get(app) else { return };
        if let Some(Local::Members(members)) = app_state.local.get(channel)
            && members.contains_key(&connection)
        {
            return;
        }
        state.enter_as(app, channel, connection, member());
        drop(state);
        self.outbound.notify_one();
    }

    /// Adds a connection to a channel without members. Its subscribers do not see each other, so that the connection does not
    /// wait for other nodes and may [`attach`](Self::attach).
    pub fn enter(&self, app: &Arc<str>, channel: &ChannelName) {
        self.state().enter(app, channel);
        self.outbound.notify_one();
    }

    /// Puts a connection on a channel that it has entered or joined: calls `attach`, which subscribes the connection to the hub
    /// and says whether it has. If the broker has not confirmed the channel's topic yet, the completion that `later` returns is
    /// called afterwards instead, to try again.
    ///
    /// `attach` must not call the engine: the state may be locked, so that an event of a cache channel comes either from
    /// the history or after it.
    pub fn attach(
        &self,
        app: &Arc<str>,
        channel: &ChannelName,
        later: impl FnOnce() -> Completion,
        attach: impl FnOnce(Attachment) -> bool,
    ) {
        let mut state = self.state();
        if state.topics.wait(app, channel, later) {
            return;
        }
        let kind = self.dialect.kind(channel);
        let Some(app_state) = state.apps.get(app) else { return };
        let name = app_state.shared_name(channel);
        let members = if kind.is_presence { app_state.view.members(channel) } else { Vec::new() };
        let ttl = app_state.rules.cache_ttl;
        let last_event =
            if kind.is_cache { app_state.history.frame(channel, ttl, self.history_now()) } else { None };
        let is_counted = app_state.rules.is_counted(self.dialect, channel);
        let is_missed = kind.is_cache && last_event.is_none();
        let locked = if kind.is_cache {
            Some(state)
        } else {
            drop(state);
            None
        };
        let is_attached = attach(Attachment { channel: name.clone(), members, last_event });
        drop(locked);
        if !is_attached {
            return;
        }
        if is_counted {
            // It is on the channel now, so that it receives the count when that comes back.
            self.state().await_count(app, &name);
            self.outbound.notify_one();
        }
        if is_missed {
            self.webhooks.push(app, &WebhookEvent::CacheMiss { channel: name });
        }
    }

    /// Removes a connection from a channel that it has entered or joined.
    pub fn exit(&self, app: &Arc<str>, channel: &ChannelName, connection: SocketId) {
        let waiting = self.state().exit(app, channel, connection, None);
        drop(waiting);
        self.outbound.notify_one();
    }

    /// Signs a connection in as a user. `completion` is called when every node can know it; `terminate` is called if the
    /// application ends the connections of the user, until [`sign_out`](Self::sign_out).
    pub fn sign_in(
        &self,
        app: &Arc<str>,
        connection: SocketId,
        user: &UserId,
        terminate: Termination,
        completion: Completion,
    ) {
        let mut state = self.state();
        if let Some(state) = state.apps.get_mut(app) {
            state.users.insert(connection, SignedIn { user: user.clone(), terminate });
        }
        let member = Member { user_id: user.clone(), user_info: None };
        let number = state.enter_as(app, &USERS, connection, member);
        let (app, channel) = (app.clone(), USERS.clone());
        state.joins.insert(number, PendingJoin { app, channel, connection, completion });
        drop(state);
        self.outbound.notify_one();
    }

    pub fn sign_out(&self, app: &Arc<str>, connection: SocketId) {
        let signed_in = self.state().apps.get_mut(app).and_then(|state| state.users.remove(&connection));
        drop(signed_in);
        self.exit(app, &USERS, connection);
    }

    /// Which of these users are signed in somewhere in the cluster.
    #[must_use]
    pub fn online(&self, app: &str, users: &[UserId]) -> Vec<UserId> {
        let state = self.state();
        let Some(state) = state.apps.get(app) else { return Vec::new() };
        users.iter().filter(|user| state.view.is_member(&USERS, user)).cloned().collect()
    }

    /// The hub's channel for notices about a watched user.
    #[must_use]
    pub fn watched(app: &str, user: &UserId) -> ChannelName {
        watched(app, user)
    }
}
