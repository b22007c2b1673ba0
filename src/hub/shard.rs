use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::batch::{Delivery, blocks};
use super::users::{UserKey, Users, Wanted};
use super::{Clock, ConnectionId, Outbox, Pushed};
use crate::message::{ChannelName, Close, UserId};
use crate::telemetry::Metrics;

/// What a shard is told, in this order.
#[derive(Debug)]
pub(super) enum Command {
    Connect { id: ConnectionId, outbox: Arc<Outbox> },
    Disconnect { id: ConnectionId },
    Join { channel: ChannelName, id: ConnectionId, user: UserId, outbox: Arc<Outbox> },
    Leave { channel: ChannelName, id: ConnectionId },
    Deliver(Arc<Delivery>),
    CloseSome { of: NonZeroUsize, close: Close },
    CountUnflushed(oneshot::Sender<usize>),
    CloseUser { user: UserId, channel: Option<ChannelName>, close: Close },
}

/// A share of the connections, and the task that writes to them.
#[derive(Debug)]
pub(super) struct Shard {
    inbox: UnboundedReceiver<Command>,
    clock: Clock,
    outbox_bytes: usize,
    metrics: Arc<Metrics>,
    connections: IndexMap<ConnectionId, Arc<Outbox>, RandomState>,
    channels: HashMap<ChannelName, Subscribers, RandomState>,
    users: Users,
    /// Writes since the shard last let others run.
    writes: usize,
}

type Subscribers = IndexMap<ConnectionId, Subscriber, RandomState>;

#[derive(Debug)]
struct Subscriber {
    user: UserKey,
    outbox: Arc<Outbox>,
}

/// So many commands are taken at a time, and so at most so many messages coalesced.
const BATCH: usize = 1024;

/// After so many writes the shard lets other tasks run, so that a huge channel does not starve reads.
const WRITES_PER_TURN: usize = 2048;

/// How often alarms are looked at: they are set in whole seconds.
const SWEEP: Duration = Duration::from_secs(1);

impl Shard {
    pub(super) fn new(
        inbox: UnboundedReceiver<Command>,
        clock: Clock,
        outbox_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inbox,
            clock,
            outbox_bytes,
            metrics,
            connections: IndexMap::default(),
            channels: HashMap::default(),
            users: Users::default(),
            writes: 0,
        }
    }

    /// Works until the hub is dropped.
    pub(super) async fn run(mut self) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = self.inbox.recv_many(&mut commands, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.obey(&mut commands).await;
                }
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// Deliveries between two other commands are delivered together.
    async fn obey(&mut self, commands: &mut Vec<Command>) {
        let mut run = Vec::new();
        for command in commands.drain(..) {
            if let Command::Deliver(delivery) = command {
                run.push(delivery);
                continue;
            }
            self.deliver(&mut run).await;
            match command {
                Command::Connect { id, outbox } => {
                    self.connections.insert(id, outbox);
                }
                Command::Disconnect { id } => {
                    self.connections.swap_remove(&id);
                    self.users.leave(id);
                    if self.connections.len() < self.connections.capacity() / 8 {
                        self.connections.shrink_to_fit();
                    }
                }
                Command::Join { channel, id, user, outbox } => {
                    let user = self.users.enter(id, user);
                    self.channels.entry(channel).or_default().insert(id, Subscriber { user, outbox });
                }
                Command::Leave { channel, id } => self.leave(&channel, id),
                Command::CloseSome { of, close } => self.close_some(of, close),
                Command::CountUnflushed(answer) => {
                    let unflushed = self.connections.values().filter(|outbox| !outbox.is_flushed()).count();
                    let _ = answer.send(unflushed);
                }
                Command::CloseUser { user, channel, close } => {
                    self.close_user(&user, channel.as_ref(), close);
                }
                Command::Deliver(_) => {}
            }
        }
        self.deliver(&mut run).await;
    }

    async fn deliver(&mut self, run: &mut Vec<Arc<Delivery>>) {
        for block in blocks(run) {
            let Some(subscribers) = self.channels.get(&block.channel) else { continue };
            let wanted = Wanted::from(&block.audience);
            let mut copies = 0;
            for (id, subscriber) in subscribers {
                if !self.users.include(&wanted, *id, subscriber.user) {
                    continue;
                }
                if subscriber.outbox.push(&block.frame, self.outbox_bytes) == Pushed::Taken {
                    copies += 1;
                }
                self.writes += 1;
                if self.writes >= WRITES_PER_TURN {
                    self.writes = 0;
                    tokio::task::yield_now().await;
                }
            }
            self.metrics.deliveries.inc_by(copies * block.messages);
        }
        run.clear();
    }

    fn leave(&mut self, channel: &ChannelName, id: ConnectionId) {
        if let Some(subscribers) = self.channels.get_mut(channel) {
            subscribers.swap_remove(&id);
            if subscribers.is_empty() {
                self.channels.remove(channel);
                if self.channels.len() < self.channels.capacity() / 8 {
                    self.channels.shrink_to_fit();
                }
            } else if subscribers.len() < subscribers.capacity() / 8 {
                subscribers.shrink_to_fit();
            }
        }
    }

    fn close_some(&mut self, of: NonZeroUsize, close: Close) {
        let open: Vec<_> =
            self.connections.values().filter(|outbox| outbox.ending().is_none()).cloned().collect();
        for outbox in open.iter().take(open.len().div_ceil(of.get())) {
            outbox.close(close);
        }
    }

    fn close_user(&self, user: &UserId, channel: Option<&ChannelName>, close: Close) {
        let wanted = Wanted::user(user);
        let of_user = |subscribers: &Subscribers| {
            for (id, subscriber) in subscribers {
                if self.users.include(&wanted, *id, subscriber.user) {
                    subscriber.outbox.close(close);
                }
            }
        };
        match channel {
            Some(channel) => self.channels.get(channel).into_iter().for_each(of_user),
            None => self
                .channels
                .iter()
                .filter(|(name, _)| !name.is_scoped())
                .for_each(|(_, subscribers)| of_user(subscribers)),
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        for outbox in self.connections.values() {
            outbox.sweep(now);
        }
    }
}
