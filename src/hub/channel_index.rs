use std::hash::BuildHasher as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use prometheus_client::metrics::gauge::Gauge;

use crate::message::{ChannelName, Encoding};

/// The subscribers of each channel, by encoding and shard, so that a message is encoded only for an encoding that has a subscriber
/// and goes only to the shards that have one.
///
/// A join is recorded here before the command reaches the shard, so that no shard that should receive a message is skipped.
#[derive(Debug)]
pub(super) struct ChannelIndex {
    shards: usize,
    state: RwLock<IndexState>,
    channels: Gauge,
}

#[derive(Debug, Default)]
struct IndexState {
    /// A table whose places have numbers, so that a [walk](ChannelWalk) can go on after the lock was released.
    channels: HashTable<(ChannelName, Entries)>,
    hasher: RandomState,
    last_key: u64,
    /// Changes before channels may move to other places.
    layout: u64,
}

/// A walk over all channels, in steps.
#[derive(Debug, Default)]
pub(super) struct ChannelWalk {
    layout: Option<u64>,
    next: usize,
}

/// Identifies a channel and one encoding to the shards. A channel gets a new key when its last subscriber of that
/// encoding has left and another one joins; a key is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ChannelKey(pub(super) u64);

/// Where a message of a channel goes in one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) key: ChannelKey,
    pub(super) encoding: Encoding,
    pub(super) shards: ShardSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardSet(u64);

/// The number of shards that fit into a [`ShardSet`].
pub(super) const MAX_SHARDS: usize = 64;

impl ShardSet {
    pub(super) fn contains(self, shard: usize) -> bool {
        self.0 & (1 << shard) != 0
    }
}

/// The encodings of a channel that have a subscriber. Nearly always that is one, which needs no list.
#[derive(Debug)]
enum Entries {
    One(EncodingEntry),
    Several(Vec<EncodingEntry>),
}

#[derive(Debug)]
struct EncodingEntry {
    key: ChannelKey,
    encoding: Encoding,
    /// The number of subscribers on each shard.
    counts: Box<[u32]>,
}

impl ChannelIndex {
    pub(super) fn new(shards: usize, channels: Gauge) -> Self {
        Self { shards, state: RwLock::default(), channels }
    }

    /// Adds a subscriber. Returns the name that all subscribers of the channel share, and the key.
    pub(super) fn join(
        &self,
        channel: &ChannelName,
        encoding: Encoding,
        shard: usize,
    ) -> (ChannelName, ChannelKey) {
        let mut state = self.write();
        let IndexState { channels, hasher, last_key, layout } = &mut *state;
        let mut new_entry = || {
            *last_key += 1;
            let counts = vec![0; self.shards].into_boxed_slice();
            EncodingEntry { key: ChannelKey(*last_key), encoding, counts }
        };
        // The table makes room for one more.
        *layout += u64::from(channels.len() == channels.capacity());
        let hash = hasher.hash_one(channel);
        let found = channels.entry(hash, |(name, _)| name == channel, |(name, _)| hasher.hash_one(name));
        let (name, entries) = match found {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert((channel.clone(), Entries::One(new_entry()))).into_mut(),
        };
        let name = name.clone();
        if !entries.iter().any(|entry| entry.encoding == encoding) {
            entries.add(new_entry());
        }
        let mut key = ChannelKey(0);
        for entry in entries.iter_mut().filter(|entry| entry.encoding == encoding) {
            key = entry.key;
            if let Some(count) = entry.counts.get_mut(shard) {
                *count = count.saturating_add(1);
            }
        }
        self.channels.set(gauge(channels.len()));
        (name, key)
    }

    /// Removes a subscriber. Returns the key that it was subscribed by.
    pub(super) fn leave(
        &self,
        channel: &ChannelName,
        encoding: Encoding,
        shard: usize,
    ) -> Option<ChannelKey> {
        let mut state = self.write();
        let IndexState { channels, hasher, layout, .. } = &mut *state;
        let mut place = channels.find_entry(hasher.hash_one(channel), |(name, _)| name == channel).ok()?;
        let (_, entries) = place.get_mut();
        let entry = entries.iter_mut().find(|entry| entry.encoding == encoding)?;
        let key = entry.key;
        if let Some(count) = entry.counts.get_mut(shard) {
            *count = count.saturating_sub(1);
        }
        if entry.counts.iter().all(|count| *count == 0) && entries.remove(key) {
            place.remove();
            if channels.len() < channels.capacity() / 8 {
                *layout += 1;
                channels.shrink_to_fit(|(name, _)| hasher.hash_one(name));
            }
        }
        self.channels.set(gauge(channels.len()));
        Some(key)
    }

    /// Where a message of the channel goes: `None` if it has no subscriber, and else one target, or several.
    pub(super) fn find(&self, channel: &ChannelName) -> Option<(Target, Vec<Target>)> {
        let state = self.read();
        let mut targets = state.get(channel)?.iter().map(EncodingEntry::target);
        Some((targets.next()?, targets.collect()))
    }

    /// The channels that have a subscriber.
    pub(super) fn channels(&self) -> Vec<ChannelName> {
        self.read().channels.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The keys of a channel, one for each encoding that has a subscriber.
    pub(super) fn keys(&self, channel: &ChannelName) -> Vec<ChannelKey> {
        let state = self.read();
        state.get(channel).into_iter().flat_map(Entries::iter).map(|entry| entry.key).collect()
    }

    /// The key of a channel in an encoding that has a subscriber.
    pub(super) fn key(&self, channel: &ChannelName, encoding: Encoding) -> Option<ChannelKey> {
        let state = self.read();
        state.get(channel)?.iter().find(|entry| entry.encoding == encoding).map(|entry| entry.key)
    }

    pub(super) fn subscribers(&self, channel: &ChannelName) -> usize {
        let state = self.read();
        state.get(channel).map_or(0, Entries::subscribers)
    }

    /// Visits the next channels, `most` places of the table at a time, with the number of their subscribers. Returns whether there
    /// are more. Starts again when channels may have moved, so that those that stay are visited at least once.
    pub(super) fn visit(
        &self,
        walk: &mut ChannelWalk,
        most: usize,
        mut visit: impl FnMut(&ChannelName, usize),
    ) -> bool {
        let state = self.read();
        if walk.layout != Some(state.layout) {
            *walk = ChannelWalk { layout: Some(state.layout), next: 0 };
        }
        let end = state.channels.num_buckets().min(walk.next.saturating_add(most));
        for place in walk.next..end {
            if let Some((name, entries)) = state.channels.get_bucket(place) {
                visit(name, entries.subscribers());
            }
        }
        walk.next = end;
        end < state.channels.num_buckets()
    }

    fn read(&self) -> RwLockReadGuard<'_, IndexState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, IndexState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexState {
    fn get(&self, channel: &ChannelName) -> Option<&Entries> {
        let found = self.channels.find(self.hasher.hash_one(channel), |(name, _)| name == channel);
        found.map(|(_, entries)| entries)
    }
}

impl Entries {
    fn subscribers(&self) -> usize {
        self.iter().flat_map(|entry| &entry.counts).map(|count| *count as usize).sum()
    }

    fn iter(&self) -> std::slice::Iter<'_, EncodingEntry> {
        match self {
            Self::One(entry) => std::slice::from_ref(entry).iter(),
            Self::Several(entries) => entries.iter(),
        }
    }

    fn iter_mut(&mut self) -> std::slice::IterMut<'_, EncodingEntry> {
        match self {
            Self::One(entry) => std::slice::from_mut(entry).iter_mut(),
            Self::Several(entries) => entries.iter_mut(),
        }
    }

    fn add(&mut self, entry: EncodingEntry) {
        match self {
            Self::Several(entries) => entries.push(entry),
            Self::One(_) => {
                if let Self::One(first) = std::mem::replace(self, Self::Several(Vec::with_capacity(2)))
                    && let Self::Several(entries) = self
                {
                    entries.extend([first, entry]);
                }
            }
        }
    }

    /// Removes an entry. Returns whether none is left.
    fn remove(&mut self, key: ChannelKey) -> bool {
        match self {
            Self::One(only) => only.key == key,
            Self::Several(entries) => {
                entries.retain(|entry| entry.key != key);
                entries.is_empty()
            }
        }
    }
}

impl EncodingEntry {
    fn target(&self) -> Target {
        let present = (0..).zip(&self.counts).filter(|(_, count)| **count > 0);
        let shards = ShardSet(present.fold(0, |shards, (shard, _)| shards | 1 << shard));
        Target { key: self.key, encoding: self.encoding, shards }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Encoding = Encoding::new(0);
    const DEFLATED: Encoding = Encoding::new(1);

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn a_channel_is_on_the_shards_of_its_subscribers_and_forgotten_after_the_last() {
        let count = Gauge::default();
        let index = ChannelIndex::new(3, count.clone());
        assert!(index.find(&name("a")).is_none());
        for shard in [0, 2, 2] {
            index.join(&name("a"), PLAIN, shard);
        }
        let (target, others) = index.find(&name("a")).unwrap();
        assert_eq!([0, 1, 2].map(|shard| target.shards.contains(shard)), [true, false, true]);
        assert!(others.is_empty());
        assert_eq!(count.get(), 1);
        for shard in [2, 0] {
            index.leave(&name("a"), PLAIN, shard);
        }
        let (target, _) = index.find(&name("a")).unwrap();
        assert_eq!([0, 1, 2].map(|shard| target.shards.contains(shard)), [false, false, true]);
        index.leave(&name("a"), PLAIN, 2);
        assert!(index.find(&name("a")).is_none());
        assert_eq!(count.get(), 0);
        assert_eq!(index.leave(&name("a"), PLAIN, 2), None);
    }

    #[test]
    fn subscribers_share_one_name() {
        let index = ChannelIndex::new(1, Gauge::default());
        let (first, _) = index.join(&name("a"), PLAIN, 0);
        let (second, _) = index.join(&name("a"), DEFLATED, 0);
        assert!(std::ptr::eq(first.as_str(), second.as_str()));
    }

    #[test]
    fn each_encoding_has_its_own_key_and_shards() {
        let count = Gauge::default();
        let index = ChannelIndex::new(2, count.clone());
        let (_, plain) = index.join(&name("a"), PLAIN, 0);
        let (_, deflated) = index.join(&name("a"), DEFLATED, 1);
        assert_ne!(plain, deflated);
        let (first, others) = index.find(&name("a")).unwrap();
        assert_eq!((first.key, first.encoding, first.shards), (plain, PLAIN, ShardSet(1)));
        assert_eq!(others, [Target { key: deflated, encoding: DEFLATED, shards: ShardSet(2) }]);
        assert_eq!((index.subscribers(&name("a")), count.get()), (2, 1));
        assert_eq!(index.keys(&name("a")), [plain, deflated]);
        assert_eq!(index.leave(&name("a"), PLAIN, 0), Some(plain));
        assert_eq!(index.find(&name("a")).map(|(target, _)| target.key), Some(deflated));
        assert_eq!(index.leave(&name("a"), DEFLATED, 1), Some(deflated));
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn a_key_is_never_used_twice() {
        let index = ChannelIndex::new(1, Gauge::default());
        let (_, first) = index.join(&name("a"), PLAIN, 0);
        index.leave(&name("a"), PLAIN, 0);
        let (_, second) = index.join(&name("a"), PLAIN, 0);
        assert_ne!(first, second);
    }

    #[test]
    fn a_walk_visits_all_channels_that_stay_while_others_come_and_go() {
        let index = ChannelIndex::new(1, Gauge::default());
        for number in 0..1000 {
            index.join(&name(&format!("stays{number}")), PLAIN, 0);
        }
        let (mut walk, mut seen, mut steps) = (ChannelWalk::default(), std::collections::HashSet::new(), 0);
        while index.visit(&mut walk, 16, |name, subscribers| {
            assert_eq!(subscribers, 1);
            seen.insert(name.clone());
        }) {
            steps += 1;
            // Enough for the table to grow, to shrink and to clean up in between.
            let other = |number: usize| name(&format!("other{number}"));
            if steps < 400 {
                for number in 0..5 {
                    index.join(&other(steps * 5 + number), PLAIN, 0);
                }
            } else if steps < 800 {
                for number in 0..5 {
                    index.leave(&other((steps - 399) * 5 + number), PLAIN, 0);
                }
            }
        }
        assert!(steps > 100);
        let stayed = seen.iter().filter(|name| name.as_str().starts_with("stays")).count();
        assert_eq!(stayed, 1000);
    }

    #[test]
    fn room_is_given_back() {
        let index = ChannelIndex::new(1, Gauge::default());
        for number in 0..1000 {
            index.join(&name(&format!("c{number}")), PLAIN, 0);
        }
        for number in 0..1000 {
            index.leave(&name(&format!("c{number}")), PLAIN, 0);
        }
        assert!(index.read().channels.capacity() < 100);
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entries>() <= 32);
    }
}
