//! The subscribers of this node, and fan-out to them.
//!
//! The hub is split into shards by connection, so that one channel with many subscribers uses every core. A shard is one
//! task that owns its share of the connections and writes to their sockets itself. Everything that concerns a shard passes
//! through its inbox, joins and leaves as well as messages: what is published after a join returned is delivered to it.
//!
//! The inboxes are unbounded queues, but their content is bounded: each message carries its share of the broker's byte
//! budget, and each connection has at most a handful of joins and leaves in flight.

mod batch;
mod channel_index;
mod clock;
mod connection;
mod connection_map;
mod delivered;
mod fan_out;
mod gate;
mod in_flight;
mod levels;
mod outbox;
mod outbox_levels;
mod place;
mod read_progress;
mod read_proof;
mod read_reports;
mod shard;
mod sink;
mod subscribers;
mod tracked;
mod users;
mod wire_format;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::message::{
    Audience, ChannelName, Close, CloseReason, Encoding, Frame, RevokedTokens, StoreState, UserId,
};
use crate::telemetry::Metrics;

pub use clock::Clock;
pub use connection::{Connection, ConnectionHandle, GatedSubscription, Subscription};
pub use gate::Replay;
pub use in_flight::InFlight;
pub use outbox::{Ending, Flushed, Outbox, Pushed};
pub use outbox_levels::OutboxLevels;
pub use place::Place;
pub use read_progress::{LateReader, ReadProgress};
pub use read_proof::ReadProof;
pub use read_reports::ReadLevel;
pub use shard::ListedConnection;
pub use sink::DirectWrite;
pub use wire_format::WireFormat;
#[cfg(test)]
pub(crate) use wire_format::tests::FORMAT as TEST_FORMAT;

use batch::Delivery;
use channel_index::{ChannelIndex, ChannelKey, ChannelWalk, MAX_SHARDS, Target};
use delivered::Delivered;
use read_reports::ReadReports;
use shard::{Command, Proving, Shard, sweep_regularly};

/// Identifies a connection of this node; never used twice.
pub type ConnectionId = u64;

/// A walk over the connections of a node, in steps.
#[derive(Debug)]
pub struct ConnectionWalk {
    shard: usize,
    before: usize,
    /// Only connections that have joined one of these channels.
    on: Option<Vec<ChannelKey>>,
}

impl Default for ConnectionWalk {
    fn default() -> Self {
        Self { shard: 0, before: usize::MAX, on: None }
    }
}

/// The hub of one node. Needs a Tokio runtime.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<UnboundedSender<Command>>,
    index: ChannelIndex,
    next: AtomicU64,
    clock: Clock,
    outbox_bytes: usize,
    /// See [`delivered`](Self::delivered).
    delivered: Arc<Delivered>,
    reports: Arc<ReadReports>,
}

impl Hub {
    /// Starts at most 64 shards. A connection with more than `outbox_bytes` queued is a slow consumer.
    #[must_use]
    pub fn start(shards: NonZeroUsize, outbox_bytes: usize, metrics: &Arc<Metrics>) -> Arc<Self> {
        let clock = Clock::start();
        let delivered = Arc::new(Delivered::default());
        let count = shards.get().min(MAX_SHARDS);
        let reports = Arc::new(ReadReports::of_shards(count));
        let shards = (0..count)
            .map(|shard| {
                let (commands, inbox) = unbounded_channel();
                let proving = Proving::new(shard, commands.downgrade(), delivered.clone(), reports.clone());
                tokio::spawn(sweep_regularly(commands.downgrade()));
                tokio::spawn(Shard::new(inbox, clock, outbox_bytes, proving, metrics.clone()).run());
                commands
            })
            .collect::<Vec<_>>();
        let index = ChannelIndex::new(shards.len(), metrics.channels.clone());
        Arc::new(Self { shards, index, next: AtomicU64::new(1), clock, outbox_bytes, delivered, reports })
    }

    /// Adds a connection. It is on no channel yet; dropping the guard leaves every channel.
    pub fn connect(self: &Arc<Self>, outbox: Arc<Outbox>) -> Connection {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Connection::new(self.clone(), id, outbox)
    }

    /// Delivers a message to those subscribers of a channel that its audience includes.
    ///
    /// `encode` is called once for each encoding that has a subscriber on this node. `in_flight` is dropped when every
    /// shard has handed the frame to its sockets.
    pub fn publish(
        &self,
        channel: &ChannelName,
        in_flight: impl Into<InFlight>,
        encode: impl FnMut(Encoding) -> Option<(Audience, Frame)>,
    ) {
        self.publish_at(channel, Place::None, in_flight, encode);
    }

    /// [Publishes](Self::publish) what has a place in the history of its channel.
    pub fn publish_at(
        &self,
        channel: &ChannelName,
        place: impl Into<Place>,
        in_flight: impl Into<InFlight>,
        mut encode: impl FnMut(Encoding) -> Option<(Audience, Frame)>,
    ) {
        let Some((first, others)) = self.index.find(channel) else { return };
        let (place, mut in_flight) = (place.into(), in_flight.into());
        for (number, target) in others.iter().enumerate() {
            let Some(message) = encode(target.encoding) else { continue };
            let share = in_flight.split(others.len() + 1 - number);
            self.deliver(*target, place, message, share);
        }
        if let Some(message) = encode(first.encoding) {
            self.deliver(first, place, message, in_flight);
        }
    }

    fn deliver(
        &self,
        target: Target,
        place: Place,
        (audience, frame): (Audience, Frame),
        in_flight: InFlight,
    ) {
        in_flight.on_subscribers();
        let delivery = Arc::new(Delivery { key: target.key, audience, frame, place, _in_flight: in_flight });
        for (shard, commands) in self.shards.iter().enumerate() {
            if target.shards.contains(shard) {
                // A shard ends only with the runtime.
                let _ = commands.send(Command::Deliver(delivery.clone()));
            }
        }
    }

    /// Everything up to this [number](crate::message::Stored::number) of the store has been published here.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.number()
    }

    /// Sets [`delivered`](Self::delivered). Called after the last publication with this number, and by one task only.
    pub fn set_delivered(&self, delivered: StoreState) {
        self.delivered.set(delivered);
    }

    /// How far the clients of all [tracked](ConnectionHandle::track) connections have proven to have read, except for at most `most`
    /// of them. `None`: that is not known.
    #[must_use]
    pub fn read_level(&self, most: usize) -> Option<ReadLevel> {
        self.reports.level(most)
    }

    /// The number of connections of this node that are on a channel.
    #[must_use]
    pub fn subscribers(&self, channel: &ChannelName) -> usize {
        self.index.subscribers(channel)
    }

    /// The channels that have a connection of this node.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelName> {
        self.index.channels()
    }

    /// Visits the channels that have a connection of this node, with how many, in no order and some twice.
    ///
    /// They are visited in steps: one that appears or disappears meanwhile may be included or not.
    pub async fn visit_channels(&self, mut visit: impl FnMut(&ChannelName, usize)) {
        const STEP: usize = 1024;
        let mut walk = ChannelWalk::default();
        while self.index.visit(&mut walk, STEP, &mut visit) {
            yield_now().await;
        }
    }

    /// A walk over the connections that are on a channel.
    #[must_use]
    pub fn walk_channel(&self, channel: &ChannelName) -> ConnectionWalk {
        ConnectionWalk { on: Some(self.index.keys(channel)), ..ConnectionWalk::default() }
    }

    /// The next connections of this node, in no order. `None`: these were all. A walk visits all that stay.
    pub async fn next_connections(&self, walk: &mut ConnectionWalk) -> Option<Vec<ListedConnection>> {
        const STEP: usize = 512;
        let shard = self.shards.get(walk.shard)?;
        let (answer, listed) = oneshot::channel();
        let _ = shard.send(Command::ListConnections {
            before: walk.before,
            most: STEP,
            on: walk.on.clone(),
            answer,
        });
        let (connections, before) = listed.await.unwrap_or_default();
        (walk.shard, walk.before) = match before {
            0 => (walk.shard + 1, usize::MAX),
            before => (walk.shard, before),
        };
        Some(connections)
    }

    /// The outbox of a connection of this node.
    pub async fn outbox(&self, id: ConnectionId) -> Option<Arc<Outbox>> {
        let (answer, outbox) = oneshot::channel();
        self.command(id, Command::FindConnection { id, answer });
        outbox.await.ok().flatten()
    }

    /// Closes one `of`-th of the connections that are still open, on each shard at least one.
    pub fn close_some(&self, of: NonZeroUsize, reason: CloseReason) {
        for commands in &self.shards {
            let _ = commands.send(Command::CloseSome { of, reason });
        }
    }

    /// The number of connections with bytes that the kernel has not taken yet, such as a close frame.
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

    /// Closes the connections that have joined this channel, or any channel, as this user.
    pub fn close_user(&self, user: &UserId, channel: Option<&ChannelName>, reason: CloseReason) {
        let keys = channel.map(|channel| self.index.keys(channel));
        for commands in &self.shards {
            let _ = commands.send(Command::CloseUser { user: user.clone(), keys: keys.clone(), reason });
        }
    }

    /// Closes the connections on this channel.
    pub fn close_channel(&self, channel: &ChannelName, reason: CloseReason) {
        let keys = self.index.keys(channel);
        for commands in &self.shards {
            let _ = commands.send(Command::CloseChannel { keys: keys.clone(), reason });
        }
    }

    /// Closes the connections with these tokens.
    pub fn close_revoked(&self, tokens: RevokedTokens, close: &'static Close) {
        let tokens = Arc::new(tokens);
        for commands in &self.shards {
            let _ = commands.send(Command::CloseRevoked { tokens: tokens.clone(), close });
        }
    }

    /// Closes a connection, if it is still open.
    pub fn close_connection(&self, id: ConnectionId, reason: CloseReason) {
        self.command(id, Command::CloseConnection { id, reason });
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How many bytes may be queued for one connection.
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
