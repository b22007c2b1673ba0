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
/// Invariant: since `continuous_from`, no message of the store is missing. A channel that is not in `channels` has no message with
/// a greater number.
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

    /// The node has read what it had missed up to this number, but only for the channels that are kept now.
    pub fn skip_to(&mut self, number: u64) {
        self.continuous_from = self.continuous_from.max(number);
    }

    /// Enters a message. Messages enter in the order of their numbers.
    pub fn append(&mut self, channel: &ChannelName, retention: Retention, entry: Arc<Entry>, now: u64) {
        let floor_number = self.continuous_from;
        if let Some(ring) = self.channels.get_mut(channel) {
            let before = ring.bytes;
            if !ring.append(entry.clone()) {
                // A new epoch.
                *ring = Ring::new(retention, entry, floor_number);
            }
            ring.trim(now, self.limits.channel_bytes);
            self.bytes = (self.bytes + ring.bytes).saturating_sub(before);
        } else {
            let ring = Ring::new(retention, entry, floor_number);
            self.bytes += ring.bytes + OVERHEAD;
            self.channels.insert(channel.clone(), ring);
        }
        if self.bytes > self.limits.total_bytes {
            self.make_room();
        }
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
    use std::num::NonZeroU64;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::history::Content;
    use crate::message::{Event, Sender, Stored};

    const RETENTION: Retention = Retention { messages: 10, age: Duration::from_secs(60) };

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    fn append(rings: &mut Rings, channel: &str, number: u64, offset: u64) {
        let position = Position { epoch: 1, offset: NonZeroU64::new(offset).unwrap() };
        let stored = Stored { store: 7, number, at: 0, positions: vec![(0, position)] };
        let sender = Sender { name: "Aoi".into(), id: 7.into() };
        let event = Event::new(name(channel), sender, Bytes::from_static(b"{}"));
        let entry = Arc::new(Entry::new(position, &stored, Content::Native(event)));
        rings.append(&name(channel), RETENTION, entry, 0);
    }

    #[test]
    fn numbers_that_were_skipped_prove_nothing_about_a_channel_that_is_not_kept() {
        let mut rings = Rings::new(Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 });
        rings.restart(7, 0);
        append(&mut rings, "a", 1, 1);
        append(&mut rings, "b", 2, 1);
        let since = |number| Since::Number { store: 7, number };
        let count = |rings: &Rings, channel: &str, number| {
            rings.missed(&name(channel), since(number), 0).map(|missed| missed.entries.len())
        };
        assert_eq!([count(&rings, "c", 0), count(&rings, "b", 1)], [Some(0), Some(1)]);
        // 3 and 4 passed by unseen; only "a" was read again.
        rings.forget(&name("b"));
        append(&mut rings, "a", 4, 2);
        rings.skip_to(4);
        assert_eq!([count(&rings, "c", 2), count(&rings, "b", 2), count(&rings, "c", 3)], [None; 3]);
        assert_eq!([count(&rings, "c", 4), count(&rings, "b", 4)], [Some(0), Some(0)]);
        assert_eq!([count(&rings, "a", 1), count(&rings, "a", 3)], [Some(1), Some(1)]);
    }
}
