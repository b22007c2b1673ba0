//! Who is on which channel on this node, and fan-out to them.
//!
//! The hub is split into shards by connection, so that one channel of many subscribers uses every core. Each
//! shard is one task that owns its share of the connections and writes to their sockets itself. All that
//! concerns a shard goes through its inbox, joins and leaves as well as messages: what is published after a
//! join returned is delivered to it.
//!
//! The inboxes are unbounded as queues, but not in what they hold: each message carries its share of the
//! broker's byte budget, and each connection has at most a handful of joins and leaves under way.

mod batch;
mod clock;
mod connection;
mod directory;
mod fan_out;
mod outbox;
mod shard;
mod subscribers;
mod users;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::message::{Audience, ChannelName, Close, Frame, UserId};
use crate::telemetry::Metrics;

pub use clock::Clock;
pub use connection::{Connection, Seat, Subscription};
pub use outbox::{Ending, Flushed, Outbox, Pushed, Sink};

use batch::Delivery;
use directory::{Directory, MAX_SHARDS};
use shard::{Command, Shard};

/// Names a connection on this node; never used twice.
pub type ConnectionId = u64;

/// The hub of one node. Needs a tokio runtime.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<UnboundedSender<Command>>,
    directory: Directory,
    next: AtomicU64,
    clock: Clock,
    outbox_bytes: usize,
}

impl Hub {
    /// Starts `shards` shards, 64 at most. More than `outbox_bytes` waiting for one connection make it a slow consumer.
    #[must_use]
    pub fn start(shards: NonZeroUsize, outbox_bytes: usize, metrics: &Arc<Metrics>) -> Arc<Self> {
        let clock = Clock::start();
        let shards = (0..shards.get().min(MAX_SHARDS))
            .map(|_| {
                let (commands, inbox) = unbounded_channel();
                tokio::spawn(Shard::new(inbox, clock, outbox_bytes, metrics.clone()).run());
                commands
            })
            .collect::<Vec<_>>();
        let directory = Directory::new(shards.len(), metrics.channels.clone());
        Arc::new(Self { shards, directory, next: AtomicU64::new(1), clock, outbox_bytes })
    }

    /// Admits a connection. It is on no channel yet; dropping the guard leaves every channel.
    pub fn connect(self: &Arc<Self>, outbox: Arc<Outbox>) -> Connection {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Connection::new(self.clone(), id, outbox)
    }

    /// Delivers a frame to those of a channel's subscribers that it is for.
    ///
    /// `encode` runs only if somebody on this node is on the channel, once. `hold`, if there is one, is dropped when
    /// every shard has handed the frame to its sockets.
    pub fn publish(
        &self,
        channel: &ChannelName,
        hold: impl Into<Option<OwnedSemaphorePermit>>,
        encode: impl FnOnce() -> Option<(Audience, Frame)>,
    ) {
        let Some((channel, present)) = self.directory.find(channel) else { return };
        let Some((audience, frame)) = encode() else { return };
        let delivery = Arc::new(Delivery { channel, audience, frame, _hold: hold.into() });
        for (shard, commands) in self.shards.iter().enumerate() {
            if present.contains(shard) {
                // A shard ends only with the runtime.
                let _ = commands.send(Command::Deliver(delivery.clone()));
            }
        }
    }

    /// How many connections of this node are on a channel.
    #[must_use]
    pub fn subscribers(&self, channel: &ChannelName) -> usize {
        self.directory.subscribers(channel)
    }

    /// Closes one `of`-th of the connections that are still open, on each shard at least one.
    pub fn close_some(&self, of: NonZeroUsize, close: Close) {
        for commands in &self.shards {
            let _ = commands.send(Command::CloseSome { of, close });
        }
    }

    /// How many connections have something that the kernel has not taken yet, such as a close frame.
    pub async fn unflushed(&self) -> usize {
        let mut answers = Vec::with_capacity(self.shards.len());
        for commands in &self.shards {
            let (answer, count) = oneshot::channel();
            let _ = commands.send(Command::CountUnflushed(answer));
            answers.push(count);
        }
        let mut unflushed = 0;
        for count in answers {
            unflushed += count.await.unwrap_or_default();
        }
        unflushed
    }

    /// Closes a user's connections: those on this channel, or on any that has no scope. Of scoped channels the hub
    /// does not know the users.
    pub fn close_user(&self, user: &UserId, channel: Option<&ChannelName>, close: Close) {
        for commands in &self.shards {
            let _ =
                commands.send(Command::CloseUser { user: user.clone(), channel: channel.cloned(), close });
        }
    }

    /// The seconds that alarms are set in.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How many bytes may wait for one connection.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.outbox_bytes
    }

    fn command(&self, id: ConnectionId, command: Command) {
        if let (_, Some(commands)) = self.shard_of(id) {
            // A shard ends only with the runtime.
            let _ = commands.send(command);
        }
    }

    fn shard_of(&self, id: ConnectionId) -> (usize, Option<&UnboundedSender<Command>>) {
        let index = usize::try_from(id % self.shards.len() as u64).unwrap_or_default();
        (index, self.shards.get(index))
    }
}

#[cfg(test)]
mod tests;
