//! Changes on this node that have not been sent to the other nodes yet.

use std::collections::VecDeque;
use std::sync::Arc;

use indexmap::IndexSet;

use super::snapshot::MAX_PART_BYTES;
use super::wire::{ClusterMessage, NumberedChange};
use crate::message::ChannelName;
use crate::presence::Change;

/// Maximum changes in one message.
const BATCH: usize = 256;

/// While this many changes or bytes wait to be sent, no connection can join a presence channel.
const MAX_CHANGES: usize = 65_536;
const MAX_CHANGE_BYTES: usize = 16 * 1024 * 1024;

/// How many departures the nodes remember before a snapshot lets them forget all of them.
const MAX_DEPARTURES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The number of the last change or snapshot.
    number: u64,
    pending: VecDeque<NumberedChange>,
    /// Their size in bytes.
    bytes: usize,
    /// Channels whose number of connections has changed.
    counts: IndexSet<(Arc<str>, ChannelName)>,
    departures: usize,
    /// How many entries a snapshot would have. Counted, because iterating over all channels at each departure would be too slow.
    pub(super) entries: usize,
}

/// A message of changes, and the numbers of the joins among them.
pub(super) type Batch = (ClusterMessage, Vec<u64>);

impl Changes {
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Whether too much is queued for another connection to join.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_CHANGES || self.bytes >= MAX_CHANGE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.counts.is_empty()
    }

    /// Queues a change. Returns whether there was room.
    pub(super) fn push(
        &mut self,
        app: &Arc<str>,
        number: u64,
        channel: &ChannelName,
        change: Change,
    ) -> bool {
        if self.is_full() {
            return false;
        }
        let change = NumberedChange { app: app.clone(), number, channel: channel.as_str().into(), change };
        self.bytes += change.bytes();
        self.pending.push_back(change);
        true
    }

    /// The number of connections of a channel without members has changed.
    pub(super) fn count(&mut self, app: &Arc<str>, channel: &ChannelName) {
        self.counts.insert((app.clone(), channel.clone()));
    }

    /// Counts a departure. Returns whether a snapshot is due.
    pub(super) fn departed(&mut self) -> bool {
        self.departures += 1;
        let is_due = self.departures > MAX_DEPARTURES && self.departures > self.entries;
        if is_due {
            self.departures = 0;
        }
        is_due
    }

    /// Begins a snapshot, which lets all nodes forget departures. Returns its number.
    pub(super) fn begin_snapshot(&mut self) -> u64 {
        self.departures = 0;
        self.next_number()
    }

    /// Discards all changes, because the next snapshot contains them. Returns whether there were any, and the joins among them.
    pub(super) fn give_up(&mut self) -> (bool, Vec<u64>) {
        let had_any = !self.pending.is_empty() || !self.counts.is_empty();
        self.counts.clear();
        self.bytes = 0;
        let joins = self.pending.drain(..).filter(|change| matches!(change.change, Change::Join { .. }));
        (had_any, joins.map(|change| change.number).collect())
    }

    /// The next message. `count` is how many connections of this node are on a channel.
    pub(super) fn next(&mut self, count: impl Fn(&str, &ChannelName) -> u64) -> Option<Batch> {
        if self.pending.is_empty() && self.counts.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |change: &&NumberedChange| {
            let is_first = bytes == 0;
            bytes += change.bytes();
            is_first || bytes <= MAX_PART_BYTES
        };
        let many = self.pending.iter().take(BATCH).take_while(fits).count();
        let mut changes: Vec<NumberedChange> = self.pending.drain(..many).collect();
        self.bytes -= changes.iter().map(NumberedChange::bytes).sum::<usize>();
        let joins = changes.iter().filter(|change| matches!(change.change, Change::Join { .. }));
        let joins = joins.map(|change| change.number).collect();
        while changes.len() < BATCH {
            let Some((app, channel)) = self.counts.pop() else { break };
            let number = self.next_number();
            let change = Change::Count(count(&app, &channel));
            changes.push(NumberedChange { app, number, channel: channel.as_str().into(), change });
        }
        if self.counts.is_empty() && self.pending.is_empty() {
            // Otherwise they would keep the memory of a burst.
            self.counts.shrink_to(BATCH);
            self.pending.shrink_to(BATCH);
        }
        Some((ClusterMessage::Changes(changes), joins))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
