use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::ring::Ring;
use super::{Entry, Missed, Since};
use crate::message::{ChannelName, Position, Retention};

/// How long a silent channel is remembered, in milliseconds.
const SILENCE: u64 = 30 * 24 * 60 * 60 * 1000;

/// The memory of a channel beside its messages, in bytes.
const OVERHEAD: usize = 512;

/// How much memory histories take on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one channel, in bytes.
    pub channel_bytes: usize,
    /// Of all channels, in bytes.
    pub total_bytes: usize,
}

/// The latest messages of all channels that have a history, as far as this node has seen them.
///
/// Invariant: of the messages that the node has handled, none of a channel that is not in `channels` has a number after
/// `continuous_from`.
#[derive(Debug)]
pub struct Rings {
    limits: Limits,
    channels: HashMap<ChannelName, Ring, RandomState>,
    bytes: usize,
    store: u64,
    continuous_from: u64,
}

impl Rings {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, channels: HashMap::default(), bytes: 0, store: 0, continuous_from: 0 }
    }

    /// Forgets everything: the node has not seen what precedes this number, or another store has taken over.
    pub fn restart(&mut self, store: u64, number: u64) {
        self.channels = HashMap::default();
        (self.bytes, self.store, self.continuous_from) = (0, store, number);
    }

    /// The store that has numbered the messages.
    #[must_use]
    pub const fn store(&self) -> u64 {
        self.store
    }

    /// Enters a message. Messages enter in the order of their numbers, and none is left out.
    pub fn append(&mut self, channel: &ChannelName, retention: Retention, entry: Arc<Entry>, now: u64) {
        self.append_after(channel, retention, entry, self.continuous_from, now);
    }

    /// Enters a message of a channel that may have others, which did not enter, after `floor_number`. Those before are only missing
    /// if they have been trimmed.
    pub fn append_after(
        &mut self,
        channel: &ChannelName,
        retention: Retention,
        entry: Arc<Entry>,
        floor_number: u64,
        now: u64,
    ) {
        let mut before = 0;
        let ring = if let Some(ring) = self.channels.get_mut(channel) {
            before = ring.bytes + OVERHEAD;
            if !ring.append(entry.clone()) {
                // A new epoch, or some are missing. Nothing is known of what lies between.
                let floor_number = entry.number.saturating_sub(1);
                *ring = Ring::new(retention, entry, floor_number);
            }
            ring
        } else {
            let ring = Ring::new(retention, entry, floor_number);
            self.channels.entry(channel.clone()).or_insert(ring)
        };
        ring.trim(now, self.limits.channel_bytes);
        self.bytes = (self.bytes + ring.bytes + OVERHEAD).saturating_sub(before);
        if self.bytes > self.limits.total_bytes {
            self.make_room();
        }
    }

    /// Messages up to this number may be missing, except on channels that are kept here.
    pub fn set_continuous_from(&mut self, number: u64) {
        self.continuous_from = self.continuous_from.max(number);
    }

    /// What a client of a channel has missed. `None` if this node cannot prove it.
    #[must_use]
    pub fn missed(&self, channel: &ChannelName, since: Since, now: u64) -> Option<Missed> {
        match (self.channels.get(channel), since) {
            (Some(ring), since) => ring.missed(since, self.store, now),
            (None, Since::Number { store, number }) => {
                (store == self.store && number >= self.continuous_from).then(Missed::default)
            }
            (None, Since::Position(_)) => None,
        }
    }

    /// The last message of a channel.
    #[must_use]
    pub fn end(&self, channel: &ChannelName) -> Option<Position> {
        self.channels.get(channel).map(Ring::end)
    }

    /// The messages of a channel that this node keeps, the oldest first.
    pub fn entries(&self, channel: &ChannelName) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.channels.get(channel).into_iter().flat_map(Ring::entries)
    }

    /// The channels of which this node has seen a message.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.channels.keys()
    }

    /// Forgets a channel, so that its history is read from the store.
    pub fn forget(&mut self, channel: &ChannelName) {
        if let Some(ring) = self.channels.remove(channel) {
            self.bytes = self.bytes.saturating_sub(ring.bytes + OVERHEAD);
            self.continuous_from = self.continuous_from.max(ring.end_number());
        }
    }

    /// Removes what is too old.
    pub fn expire(&mut self, now: u64) {
        let (limit, mut bytes) = (self.limits.channel_bytes, 0);
        let continuous_from = &mut self.continuous_from;
        self.channels.retain(|_, ring| {
            ring.trim(now, limit);
            if now.saturating_sub(ring.last_at) >= SILENCE {
                *continuous_from = (*continuous_from).max(ring.end_number());
                return false;
            }
            bytes += ring.bytes + OVERHEAD;
            true
        });
        self.bytes = bytes;
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }

    /// Removes the oldest messages, until a tenth of the memory is free.
    #[cold]
    fn make_room(&mut self) {
        let target = self.limits.total_bytes / 10 * 9;
        let mut oldest: Vec<(u64, ChannelName)> =
            self.channels.iter().map(|(channel, ring)| (ring.last_at, channel.clone())).collect();
        oldest.sort_unstable();
        for (_, channel) in oldest {
            while self.bytes > target {
                let Some(ring) = self.channels.get_mut(&channel) else { break };
                let before = ring.bytes;
                if !ring.remove_first() {
                    break;
                }
                self.bytes = (self.bytes + ring.bytes).saturating_sub(before);
            }
            if self.bytes <= target {
                return;
            }
            if self.channels.get(&channel).is_some_and(Ring::is_empty) {
                self.forget(&channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::history::Content;
    use crate::message::{Event, Sender, Stored};

    const STORE: u64 = 9;
    const CHANNELS: usize = 3;
    const AGE: u64 = 20;
    const RETENTION: Retention = Retention { messages: 5, age: Duration::from_millis(AGE) };

    #[derive(Debug, Clone)]
    enum Step {
        /// A message is published and arrives.
        Publish(usize),
        /// The store has lost the head of a channel.
        NewEpoch(usize),
        /// Messages are published while the node is away. Then it reads what it has missed on the channels that are marked.
        Away(Vec<usize>, [bool; CHANNELS]),
        Forget(usize),
        Expire,
        /// Time passes.
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let channel = 0..CHANNELS;
        prop_oneof![
            8 => channel.clone().prop_map(Step::Publish),
            1 => channel.clone().prop_map(Step::NewEpoch),
            1 => (prop::collection::vec(channel.clone(), 0..8), any::<[bool; CHANNELS]>())
                .prop_map(|(published, read)| Step::Away(published, read)),
            1 => channel.prop_map(Step::Forget),
            1 => Just(Step::Expire),
            1 => (0..AGE).prop_map(Step::Wait),
        ]
    }

    /// What has been published, and what a node keeps of it.
    struct World {
        rings: Rings,
        now: u64,
        number: u64,
        all: Vec<(usize, Arc<Entry>)>,
        heads: HashMap<usize, Position>,
        epochs: u64,
    }

    fn name(channel: usize) -> ChannelName {
        ChannelName::new(&format!("chat:{channel}")).unwrap()
    }

    impl World {
        fn new(limits: Limits, start: u64) -> Self {
            let mut rings = Rings::new(limits);
            rings.restart(STORE, start);
            Self { rings, now: 1000, number: start, all: Vec::new(), heads: HashMap::new(), epochs: 0 }
        }

        fn publish(&mut self, channel: usize) -> Arc<Entry> {
            self.number += 1;
            let position = if let Some(head) = self.heads.get(&channel) {
                Position { offset: head.offset.saturating_add(1), ..*head }
            } else {
                self.epochs += 1;
                Position { epoch: self.epochs, offset: NonZeroU64::MIN }
            };
            self.heads.insert(channel, position);
            let event = Event::new(
                name(channel),
                Sender { name: "a".into(), id: 1.into() },
                Bytes::from_static(b"{}"),
            );
            let stored = Stored {
                store: STORE,
                number: self.number,
                at: self.now,
                positions: vec![(0, position)],
                is_plain_copy: false,
            };
            let entry = Arc::new(Entry::new(position, &stored, Content::Native(event)));
            self.all.push((channel, entry.clone()));
            entry
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Publish(channel) => {
                    let entry = self.publish(channel);
                    self.rings.append(&name(channel), RETENTION, entry, self.now);
                }
                Step::NewEpoch(channel) => drop(self.heads.remove(&channel)),
                Step::Away(published, read) => {
                    let after = self.number;
                    let missed: Vec<_> =
                        published.into_iter().map(|channel| (channel, self.publish(channel))).collect();
                    for channel in (0..CHANNELS).filter(|channel| !read[*channel]) {
                        self.rings.forget(&name(channel));
                    }
                    for (channel, entry) in missed.into_iter().filter(|(channel, _)| read[*channel]) {
                        self.rings.append_after(&name(channel), RETENTION, entry, after, self.now);
                    }
                    self.rings.set_continuous_from(self.number);
                }
                Step::Forget(channel) => self.rings.forget(&name(channel)),
                Step::Expire => self.rings.expire(self.now),
                Step::Wait(time) => self.now += time,
            }
        }

        /// The messages of a channel after a place, and the last one. `None`: the place says nothing about them.
        fn truth(&self, channel: usize, since: Since) -> Option<(Vec<u64>, Option<Position>)> {
            let all = self.all.iter().filter(|(of, _)| *of == channel).map(|(_, entry)| entry);
            let end = all.clone().next_back().map(|entry| entry.position);
            let after: Vec<u64> = match since {
                Since::Position(position) => {
                    let end = end?;
                    if !position.is_covered_by(end) {
                        return None;
                    }
                    let is_after = |entry: &&Arc<Entry>| {
                        entry.position.epoch == end.epoch && entry.position.offset > position.offset
                    };
                    all.filter(is_after).map(|entry| entry.number).collect()
                }
                Since::Number { store, number } => {
                    if store != STORE {
                        return None;
                    }
                    all.filter(|entry| entry.number > number).map(|entry| entry.number).collect()
                }
            };
            Some((after, end))
        }

        fn all_places(&self) -> Vec<Since> {
            let numbers = (0..=self.number).map(|number| Since::Number { store: STORE, number });
            let positions = self.all.iter().map(|(_, entry)| Since::Position(entry.position));
            let unknown = Position { epoch: 1, offset: NonZeroU64::MAX };
            numbers
                .chain(positions)
                .chain([Since::Position(unknown), Since::Number { store: 1, number: self.number }])
                .collect()
        }

        fn bytes(&self) -> usize {
            self.rings.channels.values().map(|ring| ring.bytes + OVERHEAD).sum()
        }
    }

    proptest! {
        /// Whatever is answered is whole, ends with the last message, and contains nothing that has expired.
        #[test]
        fn an_answer_is_never_partial(
            start in 0..5_u64,
            limits in prop_oneof![Just((1 << 20, 1 << 20)), Just((1500, 1 << 20)), Just((1 << 20, 4000))],
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let (channel_bytes, total_bytes) = limits;
            let mut world = World::new(Limits { channel_bytes, total_bytes }, start);
            for step in steps {
                world.take(step);
                prop_assert_eq!(world.rings.bytes, world.bytes());
                prop_assert!(world.rings.bytes <= total_bytes);
            }
            for channel in 0..CHANNELS {
                for since in world.all_places() {
                    let Some(missed) = world.rings.missed(&name(channel), since, world.now) else { continue };
                    let numbers: Vec<u64> = missed.entries.iter().map(|entry| entry.number).collect();
                    let (truth, end) = world.truth(channel, since).expect("an answer that can be proven");
                    prop_assert_eq!(&numbers, &truth, "channel {} since {:?}", channel, since);
                    prop_assert!(missed.end == end || missed.end.is_none() && truth.is_empty());
                    let expired = |entry: &Arc<Entry>| world.now - entry.at > AGE;
                    prop_assert!(!missed.entries.iter().any(expired));
                }
            }
        }

        /// What the retention and the limits allow is answered.
        #[test]
        fn what_is_kept_is_answered(
            start in 0..5_u64,
            published in prop::collection::vec(0..CHANNELS, 0..30),
        ) {
            let mut world = World::new(Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 }, start);
            for channel in published {
                world.take(Step::Publish(channel));
            }
            let most = RETENTION.messages as usize;
            for channel in 0..CHANNELS {
                for since in world.all_places() {
                    let is_known = matches!(since, Since::Position(_))
                        || matches!(since, Since::Number { number, .. } if number >= start);
                    let Some((truth, _)) = world.truth(channel, since) else { continue };
                    if is_known && truth.len() <= most {
                        prop_assert!(world.rings.missed(&name(channel), since, world.now).is_some(), "{since:?}");
                    }
                }
            }
        }
    }
}
