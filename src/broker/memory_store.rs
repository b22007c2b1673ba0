use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StoreState;
use crate::message::{ChannelName, Position, Publication, Stored};
use crate::unix_time::unix_time;

/// How long an idempotency key is remembered.
pub(super) const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Maximum keys that are remembered; the oldest are forgotten first.
const MAX_KEYS: usize = 100_000;
/// How long the offset of a silent channel is remembered. Afterwards the channel starts with a new epoch.
const SILENCE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Numbers the messages of the channels that have a history, in memory. The messages themselves are kept by the node.
#[derive(Debug)]
pub(super) struct MemoryStore {
    id: u64,
    number: u64,
    channels: HashMap<ChannelName, Numbering>,
    /// What has been published with a key, and in which order.
    keys: HashMap<Arc<str>, Option<Position>>,
    order: VecDeque<(Instant, Arc<str>)>,
    swept: Instant,
}

#[derive(Debug)]
struct Numbering {
    epoch: u64,
    offset: u64,
    last: Instant,
}

impl MemoryStore {
    pub(super) fn new() -> Self {
        Self {
            id: rand::random(),
            number: 0,
            channels: HashMap::new(),
            keys: HashMap::new(),
            order: VecDeque::new(),
            swept: Instant::now(),
        }
    }

    pub(super) const fn state(&self) -> StoreState {
        StoreState { store: self.id, number: self.number }
    }

    /// Numbers a publication. `Err` for one whose idempotency key was used before, with the position of the first one.
    pub(super) fn store(&mut self, publication: &Publication) -> Result<Option<Stored>, Option<Position>> {
        if publication.retained.is_empty() && publication.idempotency_key.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        self.expire(now);
        if let Some(first) = publication.idempotency_key.as_ref().and_then(|key| self.keys.get(key)) {
            return Err(*first);
        }
        let stored = (!publication.retained.is_empty()).then(|| self.number(publication, now));
        if let Some(key) = &publication.idempotency_key {
            let first = stored.as_ref().and_then(|stored| Some(stored.positions.first()?.1));
            self.keys.insert(key.clone(), first);
            self.order.push_back((now, key.clone()));
        }
        Ok(stored)
    }

    fn number(&mut self, publication: &Publication, now: Instant) -> Stored {
        self.number += 1;
        let mut positions = Vec::with_capacity(publication.retained.len());
        for retained in &publication.retained {
            let new = || Numbering { epoch: rand::random(), offset: 0, last: now };
            let channel = self.channels.entry(retained.channel.clone()).or_insert_with(new);
            channel.offset += 1;
            channel.last = now;
            let offset = NonZeroU64::new(channel.offset).unwrap_or(NonZeroU64::MIN);
            positions.push((retained.index, Position { epoch: channel.epoch, offset }));
        }
        let at = u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX);
        Stored { store: self.id, number: self.number, at, positions, is_plain_copy: false }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((used, key)) = self.order.front() {
            if now.duration_since(*used) < IDEMPOTENCY_WINDOW && self.order.len() <= MAX_KEYS {
                break;
            }
            self.keys.remove(key);
            self.order.pop_front();
        }
        if now.duration_since(self.swept) > SILENCE / 30 {
            self.swept = now;
            self.channels.retain(|_, channel| now.duration_since(channel.last) < SILENCE);
        }
    }
}
