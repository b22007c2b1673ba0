use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use prometheus_client::metrics::gauge::Gauge;

use crate::message::ChannelName;

/// Which shards have a subscriber of a channel, so that a message goes to no other.
///
/// A join is entered here before the shard hears of it and a leave after, so that a shard that should see a
/// message is never passed over.
#[derive(Debug)]
pub(super) struct Directory {
    shards: usize,
    channels: RwLock<Channels>,
    count: Gauge,
}

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u64);

/// So many shards fit into a [`Present`].
pub(super) const MAX_SHARDS: usize = 64;

impl Present {
    pub(super) fn contains(self, shard: usize) -> bool {
        self.0 & (1 << shard) != 0
    }
}

/// For each channel, how many subscribers each shard has.
type Channels = HashMap<ChannelName, Box<[u32]>, RandomState>;

impl Directory {
    pub(super) fn new(shards: usize, count: Gauge) -> Self {
        Self { shards, channels: RwLock::default(), count }
    }

    /// Counts a subscriber of a shard. Returns the name that all subscribers share.
    pub(super) fn join(&self, channel: &ChannelName, shard: usize) -> ChannelName {
        let mut channels = self.write();
        let name = match channels.get_key_value(channel) {
            Some((name, _)) => name.clone(),
            None => channel.clone(),
        };
        let counts = channels.entry(name.clone()).or_insert_with(|| vec![0; self.shards].into_boxed_slice());
        if let Some(count) = counts.get_mut(shard) {
            *count = count.saturating_add(1);
        }
        self.count.set(gauge(channels.len()));
        name
    }

    /// Takes a subscriber of a shard off. A channel without any is forgotten.
    pub(super) fn leave(&self, channel: &ChannelName, shard: usize) {
        let mut channels = self.write();
        if let Some(counts) = channels.get_mut(channel) {
            if let Some(count) = counts.get_mut(shard) {
                *count = count.saturating_sub(1);
            }
            if counts.iter().all(|count| *count == 0) {
                channels.remove(channel);
                if channels.len() < channels.capacity() / 8 {
                    channels.shrink_to_fit();
                }
            }
        }
        self.count.set(gauge(channels.len()));
    }

    /// The channel's shared name and the shards that have a subscriber; `None` if nobody is on it.
    pub(super) fn find(&self, channel: &ChannelName) -> Option<(ChannelName, Present)> {
        let channels = self.read();
        let (name, counts) = channels.get_key_value(channel)?;
        let present = (0..).zip(counts).filter(|(_, count)| **count > 0);
        Some((name.clone(), Present(present.fold(0, |shards, (shard, _)| shards | 1 << shard))))
    }

    /// How many subscribers a channel has.
    pub(super) fn subscribers(&self, channel: &ChannelName) -> usize {
        self.read().get(channel).map_or(0, |counts| counts.iter().map(|count| *count as usize).sum())
    }

    fn read(&self) -> RwLockReadGuard<'_, Channels> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Channels> {
        self.channels.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn a_channel_is_where_its_subscribers_are_and_forgotten_after_the_last() {
        let count = Gauge::default();
        let directory = Directory::new(3, count.clone());
        assert!(directory.find(&name("a")).is_none());
        directory.join(&name("a"), 0);
        directory.join(&name("a"), 2);
        directory.join(&name("a"), 2);
        let (_, present) = directory.find(&name("a")).unwrap();
        assert_eq!([0, 1, 2].map(|shard| present.contains(shard)), [true, false, true]);
        assert_eq!(count.get(), 1);
        directory.leave(&name("a"), 2);
        directory.leave(&name("a"), 0);
        let (_, present) = directory.find(&name("a")).unwrap();
        assert_eq!([0, 1, 2].map(|shard| present.contains(shard)), [false, false, true]);
        directory.leave(&name("a"), 2);
        assert!(directory.find(&name("a")).is_none());
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn memory_shrinks_when_channels_go() {
        let directory = Directory::new(1, Gauge::default());
        for i in 0..10_000 {
            directory.join(&name(&format!("c:{i}")), 0);
        }
        for i in 0..10_000 {
            directory.leave(&name(&format!("c:{i}")), 0);
        }
        assert!(directory.read().capacity() < 100);
    }
}
