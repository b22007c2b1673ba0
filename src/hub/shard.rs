use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::batch::Delivery;
use super::fan_out::FanOut;
use super::subscribers::{Channels, Joined, Subscriber, Subscribers};
use super::users::{Users, Wanted};
use super::{Clock, ConnectionId, Outbox};
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
    connections: IndexMap<ConnectionId, Place, RandomState>,
    channels: HashMap<ChannelName, Subscribers, RandomState>,
    users: Users,
    /// Writes since the shard last let others run.
    writes: usize,
}

/// A connection of the shard.
#[derive(Debug)]
struct Place {
    outbox: Arc<Outbox>,
    channels: Channels,
}

/// So many commands are taken at a time, and so at most so many messages coalesced.
const BATCH: usize = 1024;

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
                    self.connections.insert(id, Place { outbox, channels: Channels::default() });
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
                    self.join(channel, id, Subscriber { user, outbox });
                }
                Command::Leave { channel, id } => self.leave(&channel, id),
                Command::CloseSome { of, close } => self.close_some(of, close),
                Command::CountUnflushed(answer) => {
                    let unflushed =
                        self.connections.values().filter(|place| !place.outbox.is_flushed()).count();
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
        let Self { channels, users, metrics, outbox_bytes, writes, .. } = self;
        FanOut { channels, users, metrics, outbox_bytes: *outbox_bytes, writes }.deliver(run).await;
        run.clear();
    }

    fn join(&mut self, channel: ChannelName, id: ConnectionId, subscriber: Subscriber) {
        if self.channels.get(&channel).is_some_and(|subscribers| subscribers.contains(id)) {
            return;
        }
        // Where the connection is gone already, its leave is on the way.
        let joined =
            self.connections.get_mut(&id).map_or(Joined::Several, |place| place.channels.add(&channel));
        let subscribers = self.channels.entry(channel).or_default();
        subscribers.add(id, subscriber);
        match joined {
            Joined::Only => {}
            Joined::Several => subscribers.mark_several(id),
            Joined::Second { first } => {
                subscribers.mark_several(id);
                if let Some(subscribers) = self.channels.get_mut(&first) {
                    subscribers.mark_several(id);
                }
            }
        }
    }

    fn leave(&mut self, channel: &ChannelName, id: ConnectionId) {
        let Some(subscribers) = self.channels.get_mut(channel) else { return };
        if !subscribers.remove(id) {
            return;
        }
        if subscribers.is_empty() {
            self.channels.remove(channel);
            if self.channels.len() < self.channels.capacity() / 8 {
                self.channels.shrink_to_fit();
            }
        }
        if let Some(place) = self.connections.get_mut(&id) {
            place.channels.remove();
        }
    }

    fn close_some(&mut self, of: NonZeroUsize, close: Close) {
        let open: Vec<_> = self
            .connections
            .values()
            .map(|place| &place.outbox)
            .filter(|outbox| outbox.ending().is_none())
            .cloned()
            .collect();
        for outbox in open.iter().take(open.len().div_ceil(of.get())) {
            outbox.close(close);
        }
    }

    fn close_user(&self, user: &UserId, channel: Option<&ChannelName>, close: Close) {
        let wanted = Wanted::user(user);
        let of_user = |subscribers: &Subscribers| {
            for (id, subscriber) in subscribers.all() {
                if self.users.include(&wanted, id, subscriber.user) {
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
        for place in self.connections.values() {
            place.outbox.sweep(now);
        }
    }
}

#[cfg(test)]
mod tests;
