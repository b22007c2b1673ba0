use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::event::WebhookEvent;
use super::queued::Queued;
use crate::message::ChannelName;
use crate::protocol::pusher::EventKind;

/// What an event weighs in addition to the texts that clients write, in bytes.
const OVERHEAD: usize = 256;

/// What causes events and has a share of the queue: a channel, for each kind of event.
type Source = (ChannelName, EventKind);

/// Events that are ready to be sent, oldest first.
///
/// Tracks which source has queued the most: it loses if there is no room.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// By sequence number, with the times at which they happened.
    events: BTreeMap<u64, (u64, Queued<WebhookEvent>)>,
    sources: HashMap<Source, Share>,
    /// The weight of each source, with its number.
    by_weight: BTreeSet<(usize, u64)>,
    names: HashMap<u64, Source>,
    next: u64,
    weight: usize,
}

/// What one source has queued.
#[derive(Debug)]
struct Share {
    number: u64,
    weight: usize,
    sequence: BTreeSet<u64>,
}

/// What an event counts against the limit in bytes.
pub(super) fn weight(event: &WebhookEvent) -> usize {
    OVERHEAD + event.text_bytes()
}

impl Ready {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The weight of all events, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Appends an event that happened at `time`. It may cancel an earlier event, or be redundant itself: an application that
    /// has not received that a channel was occupied need not receive that it was vacated, and of counts it needs the latest.
    pub(super) fn push(&mut self, time: u64, event: Queued<WebhookEvent>) {
        let channel = event.channel();
        let opposite = match event.kind() {
            EventKind::ChannelOccupied => Some(EventKind::ChannelVacated),
            EventKind::ChannelVacated => Some(EventKind::ChannelOccupied),
            _ => None,
        };
        if let Some(opposite) = opposite
            && self.pop_latest_of(&(channel.clone(), opposite)).is_some()
        {
            return;
        }
        let source = (channel.clone(), event.kind());
        match event.kind() {
            EventKind::CacheMiss if self.sources.contains_key(&source) => return,
            EventKind::SubscriptionCount => drop(self.pop_latest_of(&source)),
            _ => {}
        }
        self.append(time, source, event);
    }

    fn append(&mut self, time: u64, source: Source, event: Queued<WebhookEvent>) {
        let sequence = self.next;
        self.next += 1;
        let weight = weight(&event);
        let queued = self.sources.entry(source).or_insert_with_key(|source| {
            self.names.insert(sequence, source.clone());
            Share { number: sequence, weight: 0, sequence: BTreeSet::new() }
        });
        self.by_weight.remove(&(queued.weight, queued.number));
        queued.weight += weight;
        queued.sequence.insert(sequence);
        self.by_weight.insert((queued.weight, queued.number));
        self.weight += weight;
        self.events.insert(sequence, (time, event));
    }

    /// The first event and the time at which it happened.
    pub(super) fn first(&self) -> Option<&(u64, Queued<WebhookEvent>)> {
        self.events.first_key_value().map(|(_, entry)| entry)
    }

    pub(super) fn pop_first(&mut self) -> Option<Queued<WebhookEvent>> {
        let sequence = *self.events.first_key_value()?.0;
        self.remove(sequence)
    }

    /// The weight of the source that an event would come from.
    pub(super) fn weight_of_source(&self, event: &WebhookEvent) -> usize {
        let source = (event.channel().clone(), event.kind());
        self.sources.get(&source).map_or(0, |queued| queued.weight)
    }

    /// The latest event of the source that weighs most, if it weighs more than `weight`.
    pub(super) fn pop_heavier_than(&mut self, weight: usize) -> Option<Queued<WebhookEvent>> {
        let (_, number) = *self.by_weight.last().filter(|(heaviest, _)| *heaviest > weight)?;
        let source = self.names.get(&number)?.clone();
        self.pop_latest_of(&source)
    }

    fn pop_latest_of(&mut self, source: &Source) -> Option<Queued<WebhookEvent>> {
        let sequence = *self.sources.get(source)?.sequence.last()?;
        self.remove(sequence)
    }

    fn remove(&mut self, sequence: u64) -> Option<Queued<WebhookEvent>> {
        let (_, event) = self.events.remove(&sequence)?;
        let weight = weight(&event);
        self.weight -= weight;
        let source = (event.channel().clone(), event.kind());
        if let Some(queued) = self.sources.get_mut(&source) {
            self.by_weight.remove(&(queued.weight, queued.number));
            queued.weight -= weight;
            queued.sequence.remove(&sequence);
            if queued.sequence.is_empty() {
                self.names.remove(&queued.number);
                self.sources.remove(&source);
            } else {
                self.by_weight.insert((queued.weight, queued.number));
            }
        }
        Some(event)
    }
}
