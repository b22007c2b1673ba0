use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::message_key;
use super::DueMessage;

/// How long a message that arrived before this node had a complete view waits for a numbered copy.
const UNSEEN_PATIENCE: Duration = Duration::from_millis(1500);
/// The memory of a message beside its content, in bytes.
const OVERHEAD: usize = 400;

/// A plain message, as it arrives.
#[derive(Debug)]
pub(in super::super) struct Arrived<M> {
    pub(in super::super) topic: Arc<str>,
    pub(in super::super) content: M,
    /// Equal for equal contents.
    pub(in super::super) fingerprint: u64,
    pub(in super::super) bytes: usize,
}

/// The plain messages that this node has received and not seen stored, in the order in which they were published.
///
/// Invariant: `names` leads from every name of a message to its place.
#[derive(Debug)]
pub(super) struct HeldMessages<M> {
    /// `None`: it is stored.
    entries: VecDeque<Option<Held<M>>>,
    /// The place of the first entry.
    first: u64,
    names: HashMap<Arc<str>, u64>,
    bytes: usize,
    /// No marker has followed the messages from this place on.
    unmarked: u64,
    /// How many of the entries this node can only tell by their contents.
    unseen: usize,
}

#[derive(Debug)]
struct Held<M> {
    message: Arrived<M>,
    /// Which of the messages of its topic it is since the last marker, or on this connection.
    count: u64,
    arrived: Instant,
    /// The name under which it is stored.
    name: Option<Arc<str>>,
    /// The name under which a node that has no other one stores it.
    alias: Option<Arc<str>>,
    /// The node had a complete view when it arrived, so that it knows the name that others give it.
    is_in_view: bool,
}

impl<M> HeldMessages<M> {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), first: 0, names: HashMap::new(), bytes: 0, unmarked: 0, unseen: 0 }
    }

    /// The place of the next message.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a message. `name` is `None` if the node has no complete view yet.
    pub(super) fn push(&mut self, message: Arrived<M>, count: u64, name: Option<Arc<str>>, now: Instant) {
        if let Some(name) = &name {
            self.names.insert(name.clone(), self.next());
        }
        self.bytes += message.bytes + OVERHEAD;
        let is_in_view = name.is_some();
        self.unseen += usize::from(!is_in_view);
        self.entries.push_back(Some(Held { message, count, arrived: now, name, alias: None, is_in_view }));
    }

    /// Names the messages since the last marker by their distance to this one.
    pub(super) fn on_marker(&mut self, marker: &str, counts: &HashMap<Arc<str>, u64>) {
        let from = self.unmarked.max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        for (place, entry) in (from..).zip(self.entries.iter_mut().skip(skipped)) {
            let Some(held) = entry else { continue };
            let topic = &held.message.topic;
            let last = counts.get(topic).copied().unwrap_or(held.count);
            let name = message_key::before(marker, topic, last - held.count + 1);
            self.names.insert(name.clone(), place);
            *(if held.name.is_none() { &mut held.name } else { &mut held.alias }) = Some(name);
        }
        self.unmarked = self.next();
    }

    /// Messages may have been missed since the last one. Returns those that this node can only tell by their copies, which it may have
    /// missed as well.
    pub(super) fn on_interrupted(&mut self) -> Vec<Arrived<M>> {
        self.unmarked = self.next();
        let unseen = |entry: &Option<Held<M>>| entry.as_ref().is_some_and(|held| !held.is_in_view);
        let places = (self.first..).zip(&self.entries).filter(|(_, entry)| self.unseen > 0 && unseen(entry));
        let places: Vec<u64> = places.map(|(place, _)| place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// A message has been stored under a name. Returns whether this node still held it.
    pub(super) fn on_copy(&mut self, name: &str) -> bool {
        self.names.get(name).copied().is_some_and(|place| self.remove(place).is_some())
    }

    /// A message has been stored under a name that this node does not know. Takes out the first one with its content. Returns
    /// whether there was one.
    pub(super) fn on_unknown_copy(&mut self, fingerprint: impl FnOnce() -> u64) -> bool {
        if self.unseen == 0 {
            return false;
        }
        let fingerprint = fingerprint();
        let is_it = |held: &Held<M>| !held.is_in_view && held.message.fingerprint == fingerprint;
        let found = (self.first..).zip(&self.entries).find(|(_, entry)| entry.as_ref().is_some_and(is_it));
        let Some(place) = found.map(|(place, _)| place) else { return false };
        self.remove(place).is_some()
    }

    /// Takes a message out. Returns it, if it is still held.
    pub(super) fn remove(&mut self, place: u64) -> Option<Arrived<M>> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let held = self.entries.get_mut(index)?.take()?;
        for name in [held.name, held.alias].iter().flatten() {
            self.names.remove(name);
        }
        self.bytes = self.bytes.saturating_sub(held.message.bytes + OVERHEAD);
        self.unseen -= usize::from(!held.is_in_view);
        while self.entries.front().is_some_and(Option::is_none) {
            self.entries.pop_front();
            self.first += 1;
        }
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
            self.names.shrink_to_fit();
        }
        Some(held.message)
    }

    /// Takes out the oldest message if it arrived before `limit`.
    pub(super) fn pop_older(&mut self, limit: Instant) -> Option<Arrived<M>> {
        let oldest = self.entries.front()?.as_ref()?;
        if oldest.arrived < limit { self.remove(self.first) } else { None }
    }

    /// Since when the first message from a place on waits to be stored. Later than now: it is not to be stored yet.
    pub(super) fn waiting_since(&self, from: u64) -> Option<Instant> {
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).flatten().next().map(Held::ripe_at)
    }

    /// The first messages before a place that can be stored.
    pub(super) fn ripe(&self, end: u64, now: Instant) -> impl Iterator<Item = DueMessage<M>>
    where
        M: Clone,
    {
        let places = (self.first..end).zip(&self.entries);
        let held = places.filter_map(|(place, entry)| Some((place, entry.as_ref()?)));
        let ripe = held.take_while(move |(_, held)| held.ripe_at() <= now);
        ripe.map_while(|(place, held)| {
            let content = held.message.content.clone();
            Some(DueMessage { place, name: held.name.clone()?, alias: held.alias.clone(), content })
        })
    }

    /// The bytes of a message that is held.
    pub(super) fn size(&self, place: u64) -> usize {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let held = index.and_then(|index| self.entries.get(index)?.as_ref());
        held.map_or(0, |held| held.message.bytes)
    }
}

impl<M> Held<M> {
    fn ripe_at(&self) -> Instant {
        if self.is_in_view { self.arrived } else { self.arrived + UNSEEN_PATIENCE }
    }
}
