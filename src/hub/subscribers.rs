use std::sync::Arc;

use super::channel_index::ChannelKey;
use super::connection_map::ConnectionMap;
use super::users::UserKey;
use super::{ConnectionId, Outbox};

/// A shard's subscribers of one channel in one encoding.
///
/// Those that are on other channels too come first, so that each group can be iterated without looking at the other.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    entries: ConnectionMap<Subscriber>,
    /// The number of entries, from the first, that are on several channels.
    several: usize,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) user: UserKey,
    pub(super) outbox: Arc<Outbox>,
}

/// The channel that a connection is on, or how many it is on. Packed, because every connection has one.
///
/// Back from several to one, a connection counts as being on several, because it is not known which one is left.
#[derive(Debug, Default)]
pub(super) struct ChannelCount(u64);

/// Set if the rest is a key. Keys count up from 1, and do not get there.
const KEY: u64 = 1 << 63;

impl ChannelCount {
    pub(super) fn add(&mut self, key: ChannelKey) -> JoinedAs {
        if self.0 == 0 {
            self.0 = KEY | key.0;
            JoinedAs::Only
        } else if self.0 & KEY != 0 {
            let first = ChannelKey(self.0 & !KEY);
            self.0 = 2;
            JoinedAs::Second { first }
        } else {
            self.0 += 1;
            JoinedAs::Additional
        }
    }

    /// The channel, if it is the only one.
    pub(super) fn only(&self) -> Option<ChannelKey> {
        (self.0 & KEY != 0).then_some(ChannelKey(self.0 & !KEY))
    }

    pub(super) fn remove(&mut self) {
        self.0 = if self.0 & KEY != 0 { 0 } else { self.0.saturating_sub(1) };
    }
}

/// How many channels a connection is on after it has joined one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JoinedAs {
    Only,
    /// The connection is on several channels now, which concerns the subscribers of its first one too.
    Second {
        first: ChannelKey,
    },
    Additional,
}

impl Subscribers {
    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.entries.contains(id)
    }

    /// The user as whom a connection is subscribed.
    pub(super) fn user(&self, id: ConnectionId) -> Option<UserKey> {
        self.entries.get(id).map(|subscriber| subscriber.user)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a connection that is on no other channel, and not subscribed yet.
    pub(super) fn add(&mut self, id: ConnectionId, subscriber: Subscriber) {
        self.entries.add(id, subscriber);
    }

    /// Marks a connection as being on other channels too.
    pub(super) fn mark_several(&mut self, id: ConnectionId) {
        if let Some(place) = self.entries.place(id).filter(|place| *place >= self.several) {
            self.entries.swap(place, self.several);
            self.several += 1;
        }
    }

    /// Returns whether the connection was subscribed.
    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(place) = self.entries.place(id) else { return false };
        if place < self.several {
            self.several -= 1;
            self.entries.swap(place, self.several);
        }
        self.entries.remove(id).is_some()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (ConnectionId, &Subscriber)> {
        self.entries.entries().iter().map(|(id, subscriber)| (*id, subscriber))
    }

    /// Those that are on several channels.
    pub(super) fn on_several(&self) -> impl ExactSizeIterator<Item = (ConnectionId, &Subscriber)> {
        let several = self.entries.entries().get(..self.several).unwrap_or_default();
        several.iter().map(|(id, subscriber)| (*id, subscriber))
    }

    /// Those that are on no other channel.
    pub(super) fn on_one(&self) -> impl ExactSizeIterator<Item = (ConnectionId, &Subscriber)> {
        let one = self.entries.entries().get(self.several..).unwrap_or_default();
        one.iter().map(|(id, subscriber)| (*id, subscriber))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_channel_is_known_until_there_is_a_second() {
        let mut channels = ChannelCount::default();
        assert_eq!(channels.add(ChannelKey(7)), JoinedAs::Only);
        channels.remove();
        assert_eq!(channels.add(ChannelKey(8)), JoinedAs::Only);
        assert_eq!(channels.add(ChannelKey(9)), JoinedAs::Second { first: ChannelKey(8) });
        assert_eq!(channels.add(ChannelKey(10)), JoinedAs::Additional);
        for _ in 0..2 {
            channels.remove();
        }
        assert_eq!(channels.add(ChannelKey(11)), JoinedAs::Additional);
        for _ in 0..3 {
            channels.remove();
        }
        assert_eq!(channels.add(ChannelKey(12)), JoinedAs::Only);
    }

    #[test]
    fn a_channel_stays_small() {
        // Many channels have one subscriber.
        assert!(size_of::<(ChannelKey, Subscribers)>() <= 48);
        assert!(size_of::<(ConnectionId, Subscriber)>() <= 24);
    }
}
