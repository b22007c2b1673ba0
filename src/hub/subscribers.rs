use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::users::UserKey;
use super::{ConnectionId, Outbox};
use crate::message::ChannelName;

/// A shard's connections that are on one channel.
///
/// Those that are on other channels too come first, so that each kind can be walked without looking at the other.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    entries: IndexMap<ConnectionId, Subscriber, RandomState>,
    /// How many of the first entries are on several channels.
    several: usize,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) user: UserKey,
    pub(super) outbox: Arc<Outbox>,
}

/// The channels that a connection is on.
#[derive(Debug)]
pub(super) enum Channels {
    One(ChannelName),
    /// So many. Back from several to one it counts as being on several, because which one is left is not remembered.
    Several(u32),
}

impl Default for Channels {
    fn default() -> Self {
        Self::Several(0)
    }
}

impl Channels {
    /// Adds a channel. Whether there are several now.
    pub(super) fn add(&mut self, channel: &ChannelName) -> Joined {
        match std::mem::take(self) {
            Self::Several(0) => {
                *self = Self::One(channel.clone());
                Joined::Only
            }
            Self::Several(count) => {
                *self = Self::Several(count.saturating_add(1));
                Joined::Several
            }
            Self::One(first) => {
                *self = Self::Several(2);
                Joined::Second { first }
            }
        }
    }

    /// Takes a channel off.
    pub(super) fn remove(&mut self) {
        *self = match self {
            Self::One(_) => Self::Several(0),
            Self::Several(count) => Self::Several(count.saturating_sub(1)),
        };
    }
}

/// What a channel is to the connection that joins it.
#[derive(Debug)]
pub(super) enum Joined {
    /// Its only one.
    Only,
    /// Its second one: it is on several from now on, also for the subscribers of its first.
    Second { first: ChannelName },
    /// One of several.
    Several,
}

impl Subscribers {
    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a connection that is not among them, as one that is on this channel only.
    pub(super) fn add(&mut self, id: ConnectionId, subscriber: Subscriber) {
        self.entries.insert(id, subscriber);
    }

    /// From now on the connection is on other channels too.
    pub(super) fn mark_several(&mut self, id: ConnectionId) {
        if let Some(index) = self.entries.get_index_of(&id).filter(|index| *index >= self.several) {
            self.entries.swap_indices(index, self.several);
            self.several += 1;
        }
    }

    /// Whether the connection was among them.
    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(mut index) = self.entries.get_index_of(&id) else { return false };
        if index < self.several {
            self.several -= 1;
            self.entries.swap_indices(index, self.several);
            index = self.several;
        }
        self.entries.swap_remove_index(index);
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
        }
        true
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (ConnectionId, &Subscriber)> {
        self.entries.iter().map(|(id, subscriber)| (*id, subscriber))
    }

    /// Those that are on several channels.
    pub(super) fn on_several(&self) -> impl ExactSizeIterator<Item = (ConnectionId, &Subscriber)> {
        let several = self.entries.get_range(..self.several).unwrap_or_default();
        several.iter().map(|(id, subscriber)| (*id, subscriber))
    }

    /// Those that are on no other channel.
    pub(super) fn on_one(&self) -> impl ExactSizeIterator<Item = (ConnectionId, &Subscriber)> {
        let one = self.entries.get_range(self.several..).unwrap_or_default();
        one.iter().map(|(id, subscriber)| (*id, subscriber))
    }
}
