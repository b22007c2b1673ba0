use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;

use super::channel_head::ChannelHead;
use crate::broker::envelope::StoredEnvelope;
use crate::broker::{Head, ReadAfter, StoreState, StoredHistory};
use crate::message::{Position, Retention};

/// How many messages of a channel are read at a time.
const PAGE: u64 = 64;

/// Reads the history of a channel page by page, the last page first. Pure: replies in, pages to read out.
///
/// Invariant: `found` has contiguous offsets, and ends with the head.
#[derive(Debug)]
pub(super) struct ChannelRead {
    after: ReadAfter,
    retention: Retention,
    store: Option<u64>,
    /// As Redis has it. `None`: it has none.
    channel: Option<ChannelHead>,
    /// The least offset to return.
    from: u64,
    /// The greatest offset that is still to be read, or less than `from`.
    to: u64,
    found: VecDeque<StoredEnvelope>,
}

impl ChannelRead {
    /// Starts with what Redis has under the keys of the store and of the channel's head.
    pub(super) fn new(
        after: ReadAfter,
        retention: Option<Retention>,
        store: Option<&str>,
        head: Option<&[u8]>,
    ) -> Self {
        // Nothing is kept of a channel without a history.
        let retention = retention.unwrap_or(Retention { messages: 0, age: Duration::ZERO });
        let parse =
            |bytes| store.map_or(ChannelHead::OfAnotherStore, |store| ChannelHead::parse(bytes, store));
        let channel = head.map(parse);
        let mut read = Self {
            after,
            retention,
            store: store.and_then(|store| u64::from_str_radix(store, 16).ok()),
            channel,
            from: 1,
            to: 0,
            found: VecDeque::new(),
        };
        if let Some(ChannelHead::Stored { head, floor }) = channel {
            let offset = head.position.offset.get();
            let kept = offset.saturating_sub(u64::from(retention.messages)) + 1;
            let first = kept.max(floor).max(1);
            read.from = first;
            // Nothing is wanted if it cannot be proven that nothing is missing before it.
            let is_wanted = match after {
                ReadAfter::Start => true,
                ReadAfter::Position(after) => {
                    read.from = after.offset.get().saturating_add(1);
                    after.epoch == head.position.epoch && read.from >= first
                }
                ReadAfter::Number(after) => read.is_of_store(after) && after.number < head.number,
                ReadAfter::End => false,
            };
            read.to = if is_wanted { offset } else { 0 };
        }
        read
    }

    fn is_of_store(&self, of: StoreState) -> bool {
        self.store == Some(of.store)
    }

    /// The next messages to read: the offsets of the first and the last one.
    pub(super) fn next_page(&self) -> Option<(u64, u64)> {
        (self.from <= self.to).then(|| (self.from.max(self.to.saturating_sub(PAGE - 1)), self.to))
    }

    /// Takes the page, which may be incomplete: what is missing has been trimmed since. An entry has one message or several that
    /// follow each other, under the offset of the last, so that the first entry may begin before the page.
    pub(super) fn on_page(
        &mut self,
        entries: impl DoubleEndedIterator<Item = (u64, Bytes)>,
        decode: impl Fn(&Bytes, Position) -> Option<Vec<StoredEnvelope>>,
    ) {
        let Some((first, _)) = self.next_page() else { return };
        let Some(head) = self.head() else { return };
        'entries: for (offset, payload) in entries.rev() {
            let position =
                NonZeroU64::new(offset).map(|offset| Position { epoch: head.position.epoch, offset });
            let found =
                position.filter(|_| offset == self.to).and_then(|position| decode(&payload, position));
            let Some(found) = found else { break };
            for found in found.into_iter().rev() {
                let is_before =
                    matches!(self.after, ReadAfter::Number(after) if found.message.number <= after.number);
                if is_before || self.to < self.from {
                    break 'entries;
                }
                self.found.push_front(found);
                self.to -= 1;
            }
        }
        // Everything before the first one that was not found is of no use.
        if self.to >= first {
            self.to = 0;
        }
    }

    /// The result. `now` is in milliseconds, by the clock of Redis.
    pub(super) fn finish(mut self, now: u64) -> StoredHistory {
        use ChannelHead::{OfAnotherStore, Reset, Stored};

        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        while self.found.front().is_some_and(|first| now.saturating_sub(first.message.at) > age) {
            self.found.pop_front();
        }
        let first = self.found.front();
        let first_offset = first.map(|first| first.message.position.offset.get());
        let is_trimmed = match (self.after, self.channel) {
            (ReadAfter::End, _) | (ReadAfter::Start, None) => false,
            (ReadAfter::Start, Some(OfAnotherStore | Reset(_)))
            | (ReadAfter::Position(_), None | Some(OfAnotherStore | Reset(_))) => true,
            (ReadAfter::Start, Some(Stored { .. })) => first_offset != Some(1),
            (ReadAfter::Position(after), Some(Stored { head, .. })) => {
                let (read, end) = (after.offset.get(), head.position.offset.get());
                after.epoch != head.position.epoch || read < end && first_offset != Some(read + 1)
            }
            (ReadAfter::Number(after), channel) => {
                !self.is_of_store(after)
                    || match channel {
                        // This store has numbered none.
                        None | Some(OfAnotherStore) => false,
                        Some(Reset(last)) => after.number < last,
                        Some(Stored { head, .. }) => {
                            after.number < head.number
                                && first.is_none_or(|first| first.previous > after.number)
                        }
                    }
            }
        };
        let head = self.head();
        let messages = self.found.into_iter().map(|found| found.message).collect();
        StoredHistory { store: self.store, head, messages, is_trimmed }
    }

    fn head(&self) -> Option<Head> {
        if let Some(ChannelHead::Stored { head, .. }) = self.channel { Some(head) } else { None }
    }
}
