use std::sync::Arc;

use super::shard::Command;
use super::{Clock, ConnectionId, Hub, Outbox, Pushed};
use crate::message::{ChannelName, Frame, Named, UserId};

/// A connection's place in the hub. Dropping it leaves every channel: admitted cannot miss left.
#[derive(Debug)]
pub struct Connection {
    hub: Arc<Hub>,
    id: ConnectionId,
    outbox: Arc<Outbox>,
    channels: Vec<ChannelName>,
}

impl Connection {
    pub(super) fn new(hub: Arc<Hub>, id: ConnectionId, outbox: Arc<Outbox>) -> Self {
        let connection = Self { hub, id, outbox, channels: Vec::new() };
        connection.command(Command::Connect { id, outbox: connection.outbox.clone() });
        connection
    }

    /// Joins a channel as a user. What is published from now on is delivered. Joining twice is joining once.
    pub fn join(&mut self, channel: &ChannelName, user: &UserId) {
        if self.channels.contains(channel) {
            return;
        }
        let (shard, _) = self.hub.shard_of(self.id);
        let channel = self.hub.directory.join(channel, shard);
        self.command(Command::Join {
            channel: channel.clone(),
            id: self.id,
            user: user.clone(),
            outbox: self.outbox.clone(),
        });
        self.channels.reserve_exact(1);
        self.channels.push(channel);
    }

    /// Leaves a channel. Whether it was on it.
    pub fn leave(&mut self, channel: &ChannelName) -> bool {
        let Some(position) = self.channels.iter().position(|joined| joined == channel) else { return false };
        let channel = self.channels.swap_remove(position);
        self.command(Command::Leave { channel: channel.clone(), id: self.id });
        self.hub.directory.leave(&channel, self.hub.shard_of(self.id).0);
        true
    }

    /// The channels that it is on.
    #[must_use]
    pub fn channels(&self) -> &[ChannelName] {
        &self.channels
    }

    /// Its name on this node.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// What subscribes it from other tasks than its own.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat { hub: self.hub.clone(), id: self.id, outbox: self.outbox.clone() }
    }

    /// The seconds that its alarm is set in.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.hub.clock()
    }

    /// How many bytes may wait in its outbox.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.hub.outbox_bytes()
    }

    /// Where the bytes for it go.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    fn command(&self, command: Command) {
        self.hub.command(self.id, command);
    }
}

/// A connection as another task sees it: a place to subscribe it from, and its outbox.
#[derive(Debug, Clone)]
pub struct Seat {
    hub: Arc<Hub>,
    id: ConnectionId,
    outbox: Arc<Outbox>,
}

impl Seat {
    /// Puts the connection on a channel that it is not on. What is published from now on is delivered, until the
    /// subscription is dropped.
    #[must_use]
    pub fn subscribe(&self, channel: &ChannelName) -> Subscription {
        let (shard, _) = self.hub.shard_of(self.id);
        let channel = self.hub.directory.join(channel, shard);
        // The user of a scoped channel is nobody that native messages are aimed at.
        let outbox = self.outbox.clone();
        self.hub.command(
            self.id,
            Command::Join { channel: channel.clone(), id: self.id, user: 0.into(), outbox },
        );
        Subscription { hub: self.hub.clone(), id: self.id, channel }
    }

    /// The connection's name on this node.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Sends the connection a frame.
    pub fn push(&self, frame: &Frame) -> Pushed {
        self.outbox.push(frame, self.hub.outbox_bytes())
    }

    /// Where the bytes for it go.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

/// A connection's place on one channel. Dropping it leaves.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    id: ConnectionId,
    channel: ChannelName,
}

impl Subscription {
    /// Where it is.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }
}

impl Named for Subscription {
    fn name(&self) -> &ChannelName {
        &self.channel
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.command(self.id, Command::Leave { channel: self.channel.clone(), id: self.id });
        self.hub.directory.leave(&self.channel, self.hub.shard_of(self.id).0);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (shard, _) = self.hub.shard_of(self.id);
        for channel in std::mem::take(&mut self.channels) {
            self.command(Command::Leave { channel: channel.clone(), id: self.id });
            self.hub.directory.leave(&channel, shard);
        }
        self.command(Command::Disconnect { id: self.id });
    }
}
