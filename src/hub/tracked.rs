use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::ConnectionId;
use super::channel_index::ChannelKey;
use super::read_progress::{LateReader, ReadProgress};
use super::read_proof::ReadProof;
use super::subscribers::Subscribers;
use crate::message::StoreState;

/// The tracked connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    connections: HashMap<ConnectionId, Track, RandomState>,
    /// The channels on which something with a number has been delivered since the last pings.
    touched: HashSet<ChannelKey, RandomState>,
}

#[derive(Debug)]
struct Track {
    ticket: u32,
    /// Something precedes the next ping.
    is_due: bool,
    progress: Arc<ReadProgress>,
}

impl Tracked {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns whether no ping was due to the connection before.
    pub(super) fn add(&mut self, id: ConnectionId, ticket: u32, progress: Arc<ReadProgress>) -> bool {
        let before = self.connections.insert(id, Track { ticket, is_due: true, progress });
        before.is_none_or(|before| !before.is_due)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.connections.remove(&id).is_some() && self.connections.len() < self.connections.capacity() / 8
        {
            self.connections.shrink_to_fit();
        }
    }

    /// Something with a number has been delivered on a channel.
    pub(super) fn touch(&mut self, key: ChannelKey) {
        self.touched.insert(key);
    }

    /// The connections that are sent a ping now. Everything `delivered` precedes it, and everything up to `pinged` an earlier one.
    pub(super) fn take_due(
        &mut self,
        channels: &HashMap<ChannelKey, Subscribers, RandomState>,
        delivered: StoreState,
        pinged: Option<StoreState>,
    ) -> Vec<(ConnectionId, ReadProof)> {
        for key in std::mem::take(&mut self.touched) {
            for (id, _) in channels.get(&key).into_iter().flat_map(Subscribers::all) {
                if let Some(track) = self.connections.get_mut(&id) {
                    track.is_due = true;
                }
            }
        }
        let take = |(id, track): (&ConnectionId, &mut Track)| Some((*id, track.take_due(delivered, pinged)?));
        self.connections.iter_mut().filter_map(take).collect()
    }

    /// The same of one connection. `None`: no ping is due to it.
    pub(super) fn take_due_of(
        &mut self,
        id: ConnectionId,
        delivered: StoreState,
        pinged: Option<StoreState>,
    ) -> Option<ReadProof> {
        self.connections.get_mut(&id)?.take_due(delivered, pinged)
    }

    /// Those who have not proven to have read everything up to `pinged`.
    pub(super) fn late(&self, pinged: StoreState) -> Vec<LateReader> {
        self.connections.values().filter_map(|track| track.progress.late_for(pinged)).collect()
    }
}

impl Track {
    fn take_due(&mut self, delivered: StoreState, pinged: Option<StoreState>) -> Option<ReadProof> {
        if !std::mem::take(&mut self.is_due) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the payload has the low 32 bits")]
        let number = delivered.number as u32;
        let ping = self.progress.on_ping(delivered, pinged);
        Some(ReadProof { number, ticket: self.ticket, ping })
    }
}
