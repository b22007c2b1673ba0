mod closing;
mod levels;
mod proving;
mod sweep;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::batch::Delivery;
use super::channel_index::ChannelKey;
use super::connection_map::ConnectionMap;
use super::fan_out::FanOut;
use super::gate::{Gates, Replay};
use super::place::Place;
use super::read_progress::ReadProgress;
use super::subscribers::{ChannelCount, JoinedAs, Subscriber, Subscribers};
use super::users::{UserKey, Users};
use super::{Clock, ConnectionId, Outbox, OutboxLevels};
use crate::message::{Close, CloseReason, RevokedTokens, StoreState, UserId};
use crate::telemetry::Metrics;

pub(super) use proving::Proving;
pub(super) use sweep::sweep_regularly;

/// What a shard does, in the order of its inbox.
#[derive(Debug)]
pub(super) enum Command {
    Connect {
        id: ConnectionId,
        outbox: Arc<Outbox>,
    },
    Disconnect {
        id: ConnectionId,
    },
    Join {
        key: ChannelKey,
        id: ConnectionId,
        user: Option<UserId>,
        outbox: Arc<Outbox>,
        gated: bool,
    },
    Leave {
        key: ChannelKey,
        id: ConnectionId,
    },
    /// Opens the gate of a gated subscriber.
    Open {
        key: ChannelKey,
        id: ConnectionId,
        replay: Replay,
    },
    Deliver(Arc<Delivery>),
    /// Tracks how far the client of a connection has read.
    Track {
        id: ConnectionId,
        ticket: u32,
        progress: Arc<ReadProgress>,
    },
    /// Looks for alarms that are due. The answer: the next sweep can follow.
    Sweep(oneshot::Sender<()>),
    /// Sends the pings that are due, or only that of one connection: everything up to here has been delivered before.
    Prove {
        delivered: StoreState,
        only: Option<ConnectionId>,
    },
    CloseSome {
        of: NonZeroUsize,
        reason: CloseReason,
    },
    CountUnflushed(oneshot::Sender<usize>),
    /// Like `ListConnections`, but only sums up.
    MeasureOutboxes {
        before: usize,
        most: usize,
        answer: oneshot::Sender<(OutboxLevels, usize)>,
    },
    /// Lists at most `most` connections, of those before a place, and says where to go on: 0 if these were the last.
    ListConnections {
        before: usize,
        most: usize,
        /// Only those that have joined one of these channels.
        on: Option<Vec<ChannelKey>>,
        answer: oneshot::Sender<(Vec<ListedConnection>, usize)>,
    },
    FindConnection {
        id: ConnectionId,
        answer: oneshot::Sender<Option<Arc<Outbox>>>,
    },
    /// Closes the connections that have joined one of these channels as this user, or any channel.
    CloseUser {
        user: UserId,
        keys: Option<Vec<ChannelKey>>,
        reason: CloseReason,
    },
    /// Closes the connections that have joined one of these channels.
    CloseChannel {
        keys: Vec<ChannelKey>,
        reason: CloseReason,
    },
    /// Closes the connections with these tokens.
    CloseRevoked {
        tokens: Arc<RevokedTokens>,
        close: &'static Close,
    },
    CloseConnection {
        id: ConnectionId,
        reason: CloseReason,
    },
}

/// A connection in a list.
#[derive(Debug)]
pub struct ListedConnection {
    pub id: ConnectionId,
    pub outbox: Arc<Outbox>,
    /// `None`: the connection has joined as no user, or several channels, so that the shard does not know.
    pub user: Option<UserId>,
}

/// A share of the connections, and the task that writes to them.
#[derive(Debug)]
pub(super) struct Shard {
    inbox: UnboundedReceiver<Command>,
    clock: Clock,
    outbox_bytes: usize,
    metrics: Arc<Metrics>,
    connections: ConnectionMap<ShardConnection>,
    channels: HashMap<ChannelKey, Subscribers, RandomState>,
    gates: Gates,
    proving: Proving,
    users: Users,
    /// Writes since the shard last yielded.
    writes: usize,
}

#[derive(Debug)]
struct ShardConnection {
    outbox: Arc<Outbox>,
    channels: ChannelCount,
}

/// Maximum commands taken from the inbox at a time; also bounds coalescing.
const BATCH: usize = 1024;

impl Shard {
    pub(super) fn new(
        inbox: UnboundedReceiver<Command>,
        clock: Clock,
        outbox_bytes: usize,
        proving: Proving,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inbox,
            clock,
            outbox_bytes,
            metrics,
            connections: ConnectionMap::default(),
            channels: HashMap::default(),
            gates: Gates::default(),
            proving,
            users: Users::default(),
            writes: 0,
        }
    }

    /// Runs until the hub is dropped.
    pub(super) async fn run(mut self) {
        let mut commands = Vec::with_capacity(BATCH);
        while self.inbox.recv_many(&mut commands, BATCH).await > 0 {
            self.handle(&mut commands).await;
        }
    }

    /// Messages without another command in between are delivered together.
    async fn handle(&mut self, commands: &mut Vec<Command>) {
        let mut run = Vec::new();
        for command in commands.drain(..) {
            if let Command::Deliver(delivery) = command {
                run.push(delivery);
                continue;
            }
            self.deliver(&mut run).await;
            match command {
                Command::Connect { id, outbox } => {
                    self.connections.add(id, ShardConnection { outbox, channels: ChannelCount::default() });
                }
                Command::Disconnect { id } => {
                    self.connections.remove(id);
                    self.users.leave(id);
                    self.proving.tracked.remove(id);
                }
                Command::Join { key, id, user, outbox, gated } => {
                    let user = user.map_or(UserKey::NOBODY, |user| self.users.enter(id, user));
                    let subscriber = Subscriber { user, outbox };
                    if gated {
                        self.gates.add(key, id, subscriber);
                    } else {
                        self.join(key, id, subscriber);
                    }
                }
                Command::Leave { key, id } => self.leave(key, id),
                Command::Open { key, id, replay } => self.open(key, id, &replay),
                Command::Sweep(swept) => {
                    self.sweep();
                    // Fails only while the node shuts down.
                    let _ = swept.send(());
                }
                Command::Track { id, ticket, progress } => self.track(id, ticket, progress),
                Command::Prove { delivered, only: None } => self.prove(delivered).await,
                Command::Prove { delivered, only: Some(id) } => self.prove_one(delivered, id),
                Command::CloseSome { of, reason } => self.close_some(of, reason),
                Command::CountUnflushed(answer) => {
                    let unflushed = self
                        .connections
                        .values()
                        .filter(|connection| !connection.outbox.is_flushed())
                        .count();
                    let _ = answer.send(unflushed);
                }
                Command::CloseRevoked { tokens, close } => self.close_revoked(&tokens, close),
                Command::ListConnections { before, most, on, answer } => {
                    // Fails if nobody waits any more.
                    let _ = answer.send(self.list(before, most, on.as_deref()));
                }
                Command::MeasureOutboxes { before, most, answer } => {
                    let _ = answer.send(self.levels(before, most));
                }
                Command::FindConnection { id, answer } => {
                    let _ = answer.send(self.connections.get(id).map(|connection| connection.outbox.clone()));
                }
                Command::CloseUser { user, keys, reason } => self.close_user(&user, keys.as_deref(), reason),
                Command::CloseChannel { keys, reason } => self.close_channel(&keys, reason).await,
                Command::CloseConnection { id, reason } => {
                    if let Some(connection) = self.connections.get(id) {
                        connection.outbox.close_for(reason);
                    }
                }
                Command::Deliver(_) => {}
            }
        }
        self.deliver(&mut run).await;
    }

    async fn deliver(&mut self, run: &mut Vec<Arc<Delivery>>) {
        if run.is_empty() {
            return;
        }
        let Self { channels, gates, proving, users, metrics, outbox_bytes, writes, .. } = self;
        if !proving.tracked.is_empty() {
            let numbered = run.iter().filter(|delivery| matches!(delivery.place, Place::At(_)));
            numbered.for_each(|delivery| proving.tracked.touch(delivery.key));
        }
        if !gates.is_empty() {
            gates.hold(run, users, *outbox_bytes);
        }
        FanOut { channels, users, metrics, outbox_bytes: *outbox_bytes, writes }.deliver(run).await;
        run.clear();
    }

    fn join(&mut self, key: ChannelKey, id: ConnectionId, subscriber: Subscriber) {
        if self.channels.get(&key).is_some_and(|subscribers| subscribers.contains(id)) {
            return;
        }
        // If the connection has ended already, its leave follows.
        let joined = self
            .connections
            .get_mut(id)
            .map_or(JoinedAs::Additional, |connection| connection.channels.add(key));
        let subscribers = self.channels.entry(key).or_default();
        subscribers.add(id, subscriber);
        match joined {
            JoinedAs::Only => {}
            JoinedAs::Additional => subscribers.mark_several(id),
            JoinedAs::Second { first } => {
                subscribers.mark_several(id);
                if let Some(subscribers) = self.channels.get_mut(&first) {
                    subscribers.mark_several(id);
                }
            }
        }
    }

    fn leave(&mut self, key: ChannelKey, id: ConnectionId) {
        let was_subscribed = self.channels.get_mut(&key).is_some_and(|subscribers| subscribers.remove(id));
        if !was_subscribed {
            self.gates.remove(key, id);
            return;
        }
        if self.channels.get(&key).is_some_and(Subscribers::is_empty) {
            self.channels.remove(&key);
            if self.channels.len() < self.channels.capacity() / 8 {
                self.channels.shrink_to_fit();
            }
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.channels.remove();
        }
    }

    fn open(&mut self, key: ChannelKey, id: ConnectionId, replay: &Replay) {
        if let Some(gate) = self.gates.remove(key, id) {
            let (subscriber, delivered) = gate.open(replay, self.outbox_bytes);
            self.metrics.deliveries.inc_by(delivered);
            self.join(key, id, subscriber);
        }
    }

    /// From the last to the first, because a connection that is removed leaves its place to the last one.
    fn list(&self, before: usize, most: usize, on: Option<&[ChannelKey]>) -> (Vec<ListedConnection>, usize) {
        let end = self.connections.len().min(before);
        let start = end.saturating_sub(most);
        let range = self.connections.entries().get(start..end).unwrap_or_default().iter();
        let channels: Option<Vec<&Subscribers>> =
            on.map(|keys| keys.iter().filter_map(|key| self.channels.get(key)).collect());
        let is_wanted = |id| channels.as_ref().is_none_or(|on| on.iter().any(|channel| channel.contains(id)));
        let listed = range.filter(|(id, _)| is_wanted(*id)).map(|(id, connection)| {
            let only = connection.channels.only().and_then(|key| self.channels.get(&key));
            let user = only.and_then(|subscribers| self.users.id(*id, subscribers.user(*id)?));
            ListedConnection { id: *id, outbox: connection.outbox.clone(), user }
        });
        (listed.collect(), start)
    }
}

#[cfg(test)]
mod tests;
