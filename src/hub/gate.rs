//! A join that replays: until the replay has been written, the live messages of the channel are held.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::batch::{Delivery, Run, merge};
use super::channel_index::ChannelKey;
use super::place::Place;
use super::subscribers::Subscriber;
use super::users::{AudienceMatcher, Users};
use super::{ConnectionId, Pushed};
use crate::message::{Frame, Position};

/// What a client has missed, as frames in its encoding.
#[derive(Debug, Default)]
pub struct Replay {
    pub frames: Vec<Frame>,
    /// How far the history has been read, or the client has. Held messages up to here are not sent again.
    pub end: Option<Position>,
}

impl Replay {
    fn covers(&self, place: Place) -> bool {
        match (place, self.end) {
            (Place::At(position), Some(end)) => position.is_covered_by(end),
            _ => false,
        }
    }
}

/// The gated subscribers of a shard. They are not among its [`Subscribers`](super::subscribers::Subscribers), so that fan-out
/// does not look at them.
#[derive(Debug, Default)]
pub(super) struct Gates(HashMap<ChannelKey, Vec<Gate>, RandomState>);

#[derive(Debug)]
pub(super) struct Gate {
    id: ConnectionId,
    pub(super) subscriber: Subscriber,
    held: Vec<Arc<Delivery>>,
    /// The size of `held` in bytes.
    bytes: usize,
}

/// A held message takes at least this much memory.
const MESSAGE_COST: usize = 64;

impl Gates {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, key: ChannelKey, id: ConnectionId, subscriber: Subscriber) {
        self.0.entry(key).or_default().push(Gate { id, subscriber, held: Vec::new(), bytes: 0 });
    }

    pub(super) fn remove(&mut self, key: ChannelKey, id: ConnectionId) -> Option<Gate> {
        let gates = self.0.get_mut(&key)?;
        let position = gates.iter().position(|gate| gate.id == id)?;
        let gate = gates.swap_remove(position);
        if gates.is_empty() {
            self.0.remove(&key);
            if self.0.is_empty() {
                self.0 = HashMap::default();
            }
        }
        Some(gate)
    }

    /// Holds the messages of a run that are for gated subscribers, `limit` bytes for each at most.
    pub(super) fn hold(&mut self, run: &Run, users: &Users, limit: usize) {
        for delivery in run {
            if delivery.place == Place::GapForOpen {
                continue;
            }
            let Some(gates) = self.0.get_mut(&delivery.key) else { continue };
            let audience = AudienceMatcher::from(&delivery.audience);
            for gate in gates.iter_mut() {
                if users.include(&audience, gate.id, gate.subscriber.user) {
                    gate.hold(delivery, limit);
                }
            }
        }
    }

    pub(super) fn of_channel(&self, key: ChannelKey) -> impl Iterator<Item = (ConnectionId, &Subscriber)> {
        self.0.get(&key).into_iter().flatten().map(|gate| (gate.id, &gate.subscriber))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (ConnectionId, &Subscriber)> {
        self.0.values().flatten().map(|gate| (gate.id, &gate.subscriber))
    }
}

impl Gate {
    /// A message that does not fit closes the connection: none may be missing.
    fn hold(&mut self, delivery: &Arc<Delivery>, limit: usize) {
        if self.subscriber.outbox.ending().is_some() {
            return;
        }
        self.bytes += delivery.frame.bytes().len().max(MESSAGE_COST);
        if self.bytes > limit {
            self.held = Vec::new();
            self.subscriber.outbox.close_as_slow_consumer();
            return;
        }
        self.held.push(delivery.clone());
    }

    /// Writes the replay, and then what was held and comes after it. Returns the subscriber and how many messages were accepted.
    pub(super) fn open(self, replay: &Replay, limit: usize) -> (Subscriber, u64) {
        // Everything of the history before the last message that is covered is older, also gaps, and messages of a store that
        // has been lost.
        let covered = self.held.iter().rposition(|delivery| replay.covers(delivery.place));
        let covered = covered.map_or(0, |last| last + 1);
        let (old, new) = self.held.split_at_checked(covered).unwrap_or_default();
        let old = old.iter().filter(|delivery| delivery.place == Place::None);
        let held = old.chain(new).map(|delivery| &delivery.frame);
        let mut accepted = 0;
        for (block, messages) in merge(replay.frames.iter().chain(held)) {
            if self.subscriber.outbox.push(&block, limit) == Pushed::Taken {
                accepted += messages;
            }
        }
        (self.subscriber, accepted)
    }
}
