use std::sync::Arc;

use super::shard::Command;
use super::{Clock, ConnectionId, Hub, Outbox};
use crate::message::ChannelName;

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
    pub fn join(&mut self, channel: &ChannelName, user: i64) {
        if self.channels.contains(channel) {
            return;
        }
        let (shard, _) = self.hub.shard_of(self.id);
        let channel = self.hub.directory.join(channel, shard);
        self.command(Command::Join {
            channel: channel.clone(),
            id: self.id,
            user,
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
        if let (_, Some(commands)) = self.hub.shard_of(self.id) {
            // A shard ends only with the runtime.
            let _ = commands.send(command);
        }
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
