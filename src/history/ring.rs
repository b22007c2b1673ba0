use std::collections::VecDeque;
use std::sync::Arc;

use super::Entry;
use crate::message::{Position, Retention};

/// How far a client has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Up to this message of the channel.
    Position(Position),
    /// Up to this [number](crate::message::Stored::number) of this store.
    Number { store: u64, number: u64 },
}

/// What a client has missed.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    /// The messages, the oldest first. They prove that nothing else is missing.
    pub entries: Vec<Arc<Entry>>,
    /// How far the history was read. Later messages follow live.
    pub end: Option<Position>,
}

/// The latest messages of a channel, with contiguous offsets.
///
/// Invariants:
/// * `entries` are contiguous up to `end`, and start after `floor`. They may be empty.
/// * No message of the channel has a number after `floor_number` unless it is in `entries`.
#[derive(Debug)]
pub(super) struct Ring {
    retention: Retention,
    entries: VecDeque<Arc<Entry>>,
    /// The last message that was appended.
    end: Position,
    end_number: u64,
    /// Every message of the epoch with a greater offset is in `entries`.
    floor: u64,
    /// Every message with a greater number is in `entries`.
    floor_number: u64,
    pub(super) bytes: usize,
    /// When the last message was stored, in milliseconds since the Unix epoch.
    pub(super) last_at: u64,
}

impl Ring {
    /// Starts with a message. `floor_number`: no message of the channel has a number after this one and before that of `first`.
    pub(super) fn new(retention: Retention, first: Arc<Entry>, floor_number: u64) -> Self {
        Self {
            retention,
            end: first.position,
            end_number: first.number,
            // Also if the epoch started with it: there may have been another epoch before.
            floor_number,
            floor: first.position.offset.get() - 1,
            bytes: first.cost(),
            last_at: first.at,
            entries: VecDeque::from([first]),
        }
    }

    /// Appends the next message. Returns whether it was the next one.
    pub(super) fn append(&mut self, entry: Arc<Entry>) -> bool {
        let is_next = entry.position.epoch == self.end.epoch
            && entry.position.offset.get() == self.end.offset.get() + 1;
        if is_next {
            (self.end, self.end_number, self.last_at) = (entry.position, entry.number, entry.at);
            self.bytes += entry.cost();
            self.entries.push_back(entry);
        }
        is_next
    }

    /// Removes what the retention and the byte limit do not allow. `now` is in milliseconds since the Unix epoch.
    pub(super) fn trim(&mut self, now: u64, max_bytes: usize) {
        let most = usize::try_from(self.retention.messages).unwrap_or(usize::MAX);
        while self.entries.len() > most || self.bytes > max_bytes || self.is_first_expired(now) {
            if !self.remove_first() {
                break;
            }
        }
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
        }
    }

    pub(super) fn remove_first(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(entry.cost());
        (self.floor, self.floor_number) = (entry.position.offset.get(), entry.number);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) const fn end(&self) -> Position {
        self.end
    }

    pub(super) const fn end_number(&self) -> u64 {
        self.end_number
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }

    /// What a client has missed. `None` if the ring does not prove it.
    pub(super) fn missed(&self, since: Since, store: u64, now: u64) -> Option<Missed> {
        let start = match since {
            Since::Position(position) => {
                let offset = position.offset.get();
                let is_covered = position.epoch == self.end.epoch
                    && (self.floor..=self.end.offset.get()).contains(&offset);
                self.start_if(is_covered, |entry| entry.position.offset.get() <= offset)?
            }
            Since::Number { store: of, number } => {
                self.start_if(of == store && number >= self.floor_number, |entry| entry.number <= number)?
            }
        };
        let entries: Vec<_> = self.entries.iter().skip(start).cloned().collect();
        // What has expired is not delivered, and what follows it alone would have a hole.
        if entries.first().is_some_and(|entry| self.is_expired(entry, now)) {
            return None;
        }
        Some(Missed { entries, end: Some(self.end) })
    }

    fn start_if(&self, is_covered: bool, has_read: impl Fn(&Entry) -> bool) -> Option<usize> {
        is_covered.then(|| self.entries.partition_point(|entry| has_read(entry)))
    }

    fn is_first_expired(&self, now: u64) -> bool {
        self.entries.front().is_some_and(|entry| self.is_expired(entry, now))
    }

    fn is_expired(&self, entry: &Entry, now: u64) -> bool {
        u128::from(now.saturating_sub(entry.at)) > self.retention.age.as_millis()
    }
}
