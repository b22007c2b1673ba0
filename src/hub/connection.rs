use std::sync::Arc;

use super::shard::Command;
use super::{Clock, ConnectionId, Hub, Outbox, Pushed, ReadProgress, Replay};
use crate::message::{ChannelName, Encoding, Frame, Named, UserId};

/// A connection in the hub. Dropping it leaves every channel.
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
        connection.hub.command(id, Command::Connect { id, outbox: connection.outbox.clone() });
        connection
    }

    /// Joins a channel as a user. Messages that are published after this returns are delivered. Joining twice has no further
    /// effect.
    pub fn join(&mut self, channel: &ChannelName, user: &UserId) {
        self.join_as(channel, user, false);
    }

    /// Joins like [`join`](Self::join), but holds the messages until the channel is [opened](ConnectionHandle::open), as described
    /// at [`subscribe_gated`](ConnectionHandle::subscribe_gated).
    pub fn join_gated(&mut self, channel: &ChannelName, user: &UserId) {
        self.join_as(channel, user, true);
    }

    fn join_as(&mut self, channel: &ChannelName, user: &UserId, gated: bool) {
        if self.channels.contains(channel) {
            return;
        }
        let channel = self.hub.join(self.id, &self.outbox, channel, Some(user), gated);
        self.channels.reserve_exact(1);
        self.channels.push(channel);
    }

    /// Leaves a channel. Returns false if the connection was not on it.
    pub fn leave(&mut self, channel: &ChannelName) -> bool {
        let Some(position) = self.channels.iter().position(|joined| joined == channel) else { return false };
        let channel = self.channels.swap_remove(position);
        self.hub.leave(self.id, self.outbox.format().encoding, &channel);
        true
    }

    #[must_use]
    pub fn channels(&self) -> &[ChannelName] {
        &self.channels
    }

    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// A handle for tasks other than the connection's own.
    #[must_use]
    pub fn handle(&self) -> ConnectionHandle {
        ConnectionHandle { hub: self.hub.clone(), id: self.id, outbox: self.outbox.clone() }
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.hub.clock()
    }

    /// How many bytes may be queued in the outbox.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.hub.outbox_bytes()
    }

    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for channel in std::mem::take(&mut self.channels) {
            self.hub.leave(self.id, self.outbox.format().encoding, &channel);
        }
        self.hub.command(self.id, Command::Disconnect { id: self.id });
    }
}

/// Subscribes a connection to channels and sends it frames, from any task.
#[derive(Debug, Clone)]
pub struct ConnectionHandle {
    hub: Arc<Hub>,
    id: ConnectionId,
    outbox: Arc<Outbox>,
}

impl ConnectionHandle {
    /// Subscribes the connection to a channel that it is not on. Messages that are published after this returns are delivered,
    /// until the subscription is dropped. They are not addressed to users.
    #[must_use]
    pub fn subscribe(&self, channel: &ChannelName) -> Subscription {
        self.subscription(self.hub.join(self.id, &self.outbox, channel, None, false))
    }

    /// Subscribes like [`subscribe`](Self::subscribe), or as a user, but holds the messages until the subscription is
    /// [opened](GatedSubscription::open): what has been missed can be read meanwhile, and is written first. Held messages are
    /// bounded like the outbox: a connection for which more would be held is closed as a slow consumer.
    #[must_use]
    pub fn subscribe_gated(&self, channel: &ChannelName, user: Option<&UserId>) -> GatedSubscription {
        GatedSubscription(self.subscription(self.hub.join(self.id, &self.outbox, channel, user, true)))
    }

    /// Joins a channel that the connection is not on, until it [leaves](Self::leave): without a guard, which every connection would
    /// keep for each of its channels. A gated join holds messages as [`subscribe_gated`](Self::subscribe_gated) does, until it is
    /// [opened](Self::open).
    pub fn join(&self, channel: &ChannelName, gated: bool) {
        self.hub.join(self.id, &self.outbox, channel, None, gated);
    }

    /// Opens the gate of a channel that was joined. Has no effect if the connection has left it.
    pub fn open(&self, channel: &ChannelName, replay: Replay) {
        self.hub.open(self.id, channel, self.outbox.format().encoding, replay);
    }

    /// Leaves a channel that was joined.
    pub fn leave(&self, channel: &ChannelName) {
        self.hub.leave(self.id, self.outbox.format().encoding, channel);
    }

    /// Makes the connection prove from now on how far its client has read, and marks what has been sent to it so far with this
    /// ticket: see [`ReadProof`](super::ReadProof).
    pub fn track(&self, ticket: u32, progress: &Arc<ReadProgress>) {
        self.hub.command(self.id, Command::Track { id: self.id, ticket, progress: progress.clone() });
    }

    fn subscription(&self, channel: ChannelName) -> Subscription {
        let encoding = self.outbox.format().encoding;
        Subscription { hub: self.hub.clone(), id: self.id, channel, encoding }
    }

    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn push(&self, frame: &Frame) -> Pushed {
        self.outbox.push(frame, self.hub.outbox_bytes())
    }

    /// How many bytes may be queued in the outbox.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.hub.outbox_bytes()
    }

    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

/// A subscription to one channel. Dropping it leaves the channel.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    id: ConnectionId,
    channel: ChannelName,
    encoding: Encoding,
}

impl Subscription {
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
        self.hub.leave(self.id, self.encoding, &self.channel);
    }
}

/// A subscription whose messages are held. Dropping it leaves the channel.
#[derive(Debug)]
pub struct GatedSubscription(Subscription);

impl GatedSubscription {
    /// Sends the replay, then what was held and is not in it, then what is published.
    #[must_use]
    pub fn open(self, replay: Replay) -> Subscription {
        let Self(Subscription { hub, id, channel, .. }) = &self;
        hub.open(*id, channel, self.0.encoding, replay);
        self.0
    }
}

/// What connections ask of their shards.
impl Hub {
    /// Returns the name that all subscribers of the channel share.
    fn join(
        &self,
        id: ConnectionId,
        outbox: &Arc<Outbox>,
        channel: &ChannelName,
        user: Option<&UserId>,
        gated: bool,
    ) -> ChannelName {
        let (shard, _) = self.shard_of(id);
        let (channel, key) = self.index.join(channel, outbox.format().encoding, shard);
        let (user, outbox) = (user.cloned(), outbox.clone());
        self.command(id, Command::Join { key, id, user, outbox, gated });
        channel
    }

    fn leave(&self, id: ConnectionId, encoding: Encoding, channel: &ChannelName) {
        let (shard, _) = self.shard_of(id);
        if let Some(key) = self.index.leave(channel, encoding, shard) {
            self.command(id, Command::Leave { key, id });
        }
    }

    fn open(&self, id: ConnectionId, channel: &ChannelName, encoding: Encoding, replay: Replay) {
        if let Some(key) = self.index.key(channel, encoding) {
            self.command(id, Command::Open { key, id, replay });
        }
    }
}
