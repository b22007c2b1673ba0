//! The state of the histories of a node: what has arrived, what has been published, and the rings.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::stored_entries::entry;
use crate::broker::{StoreState, StoredHistory, StoredMessage};
use crate::history::{Entry, Limits, Rings, Since};
use crate::message::{ChannelName, Position, Retention, RetentionRules};
use crate::unix_time::unix_milliseconds;

/// What this node has of the histories, and how far it has come.
#[derive(Debug)]
pub(super) struct HistoryState {
    pub(super) rings: Rings,
    /// The last number that this node has handled. `None`: it does not know.
    pub(super) seen: Option<StoreState>,
    /// See [`Histories::delivered`](super::Histories::delivered).
    pub(super) delivered: Option<StoreState>,
    /// Messages up to this number were stored before this node first asked the store. Those that arrive nevertheless were on
    /// their way to it.
    pub(super) first: u64,
    /// How often this node has begun anew: it does not have what was published before.
    pub(super) starts: u64,
    /// The store could not be read: the next message tells where this node is.
    pub(super) is_blind: bool,
    /// Messages are being read that have not entered the rings yet, or are not published yet: the rings prove nothing.
    pub(super) is_catching_up: bool,
    /// What is being read, once that is known.
    pub(super) reading: Option<Reading>,
    /// When this node last noticed that the store has lost messages.
    pub(super) lost_at: Option<Instant>,
}

/// What a node reads that it has missed.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) channels: HashSet<ChannelName>,
    /// What the store had before the channels were listed.
    pub(super) until: StoreState,
}

/// What a node has missed, for the channels that it asked about.
#[derive(Debug, Default)]
pub struct CaughtUp {
    /// In the order of the store.
    pub missed: Vec<(ChannelName, Arc<Entry>)>,
    /// The channels that may have lost messages: neither this node nor the store has them.
    pub gaps: Vec<Gap>,
    /// This node has reached the store for the first time: clients that wait to be told what they have missed are answered later.
    pub is_first: bool,
}

/// A channel that may have lost messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    pub channel: ChannelName,
    /// What comes after this is delivered. `None`: it is not known.
    pub position: Option<Since>,
}

/// What a node has missed of the store.
pub(super) struct Missing {
    pub(super) seen: StoreState,
    pub(super) current: StoreState,
    /// The number after which the current store is read.
    pub(super) after: u64,
}

impl HistoryState {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rings: Rings::new(limits),
            seen: None,
            delivered: None,
            first: 0,
            starts: 0,
            is_blind: false,
            is_catching_up: false,
            reading: None,
            lost_at: None,
        }
    }

    /// Starts with the first thing that is known of the store.
    pub(super) fn start(&mut self, current: StoreState) {
        self.rings.restart(current.store, current.number);
        (self.seen, self.first) = (Some(current), current.number);
        self.starts += 1;
        (self.is_blind, self.is_catching_up, self.reading) = (false, false, None);
    }

    pub(super) fn append(
        &mut self,
        channel: &ChannelName,
        retention: Retention,
        store: u64,
        entry: &Arc<Entry>,
    ) {
        if store != self.rings.store() {
            // It was on its way when another store took over.
            self.rings.forget(channel);
        } else if entry.number > self.first {
            self.rings.append(channel, retention, entry.clone(), unix_milliseconds());
        }
        // Of the others, those that follow on the channel may not arrive: the ring would end with this one.
    }

    pub(super) fn delivered_on(&self, channel: &ChannelName) -> Option<StoreState> {
        match &self.reading {
            // What is being read was stored before.
            Some(reading) if !reading.channels.contains(channel) => Some(reading.until),
            _ => self.delivered,
        }
    }

    pub(super) fn set_delivered_before(&mut self, number: u64) {
        if let (Some(delivered), Some(seen)) = (&mut self.delivered, self.seen)
            && delivered.store == seen.store
        {
            delivered.number = delivered.number.max(number.saturating_sub(1));
        }
    }

    /// Whether a client has read further than this node has published, by the numbers of the store.
    pub(super) fn is_behind(&self, since: Since) -> bool {
        let Since::Number { store, number } = since else { return false };
        self.delivered.is_none_or(|delivered| delivered.store == store && number > delivered.number)
    }

    /// See [`Histories::after_gap`](super::Histories::after_gap).
    pub(super) fn after_gap(
        &self,
        channel: &ChannelName,
        joined: Option<Since>,
        since: Option<Since>,
    ) -> (Option<Since>, Option<Position>) {
        let end = self.rings.end(channel);
        let is_unknown =
            |read: Position| end.is_some_and(|end| end.epoch == read.epoch && !read.is_covered_by(end));
        let read = match since {
            // The client makes it up, or the store has lost it and gives it to another message.
            Some(Since::Position(read)) if is_unknown(read) => None,
            Some(Since::Position(read)) => Some(read),
            Some(Since::Number { store, number }) => self.last_up_to(channel, store, number),
            None => None,
        };
        let Some(position) = read else {
            return (joined, if let Some(Since::Position(joined)) = joined { Some(joined) } else { None });
        };
        let is_current = end.is_some_and(|end| end.epoch == position.epoch);
        match joined {
            Some(Since::Position(joined)) if joined.epoch == position.epoch => {
                let later = if joined.is_covered_by(position) { position } else { joined };
                (Some(Since::Position(later)), Some(later))
            }
            Some(Since::Number { store, number }) if store == self.rings.store() => {
                let entry = self.rings.entries(channel).rfind(|entry| entry.position == position);
                let is_later = entry.is_some_and(|entry| entry.number > number);
                (if is_later { Some(Since::Position(position)) } else { joined }, read)
            }
            // This node did not know the store yet.
            _ if is_current => (Some(Since::Position(position)), read),
            _ => (joined, read),
        }
    }

    /// The last message of a channel up to a number, if this node has it.
    fn last_up_to(&self, channel: &ChannelName, store: u64, number: u64) -> Option<Position> {
        let mut entries = self.rings.entries(channel).filter(|_| store == self.rings.store());
        entries.rfind(|entry| entry.number <= number).map(|entry| entry.position)
    }

    /// Enters what was read of the channels with subscribers.
    pub(super) fn enter(
        &mut self,
        missing: &Missing,
        histories: Vec<(ChannelName, StoredHistory)>,
        rules: &RetentionRules,
    ) -> CaughtUp {
        let Missing { seen, current, after } = *missing;
        let is_same = current.store == seen.store;
        let mut caught_up = CaughtUp::default();
        if is_same {
            // What the others have missed was not read.
            let read: HashSet<&ChannelName> = histories.iter().map(|(channel, _)| channel).collect();
            let others: Vec<ChannelName> =
                self.rings.channels().filter(|channel| !read.contains(channel)).cloned().collect();
            for channel in others {
                self.rings.forget(&channel);
            }
        } else {
            tracing::warn!(
                "the store of histories has lost messages: clients that have missed some are told"
            );
            self.rings.restart(current.store, current.number);
        }
        let mut found: Vec<(ChannelName, u64, StoredMessage)> = Vec::new();
        for (channel, history) in histories {
            let has_gap = !is_same || history.is_trimmed;
            let mut floor = after;
            if has_gap {
                self.rings.forget(&channel);
                floor = history.messages.first().map_or(current.number, |first| first.number - 1);
                let position = Some(Since::Number { store: current.store, number: floor });
                caught_up.gaps.push(Gap { channel: channel.clone(), position });
            }
            let missed = history.messages.into_iter().filter(|message| message.number <= current.number);
            found.extend(missed.map(|message| (channel.clone(), floor, message)));
        }
        found.sort_by_key(|(_, _, message)| message.number);
        for (channel, floor, message) in found {
            let Some(retention) = rules.of(&channel) else { continue };
            let Some(entry) = entry(message, current.store) else { continue };
            self.rings.append_after(&channel, retention, entry.clone(), floor, unix_milliseconds());
            caught_up.missed.push((channel, entry));
        }
        self.rings.set_continuous_from(current.number);
        (self.seen, self.first) = (Some(current), 0);
        caught_up
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::history::Content;
    use crate::message::{Event, Sender, Stored, UserId};

    #[test]
    fn a_message_from_before_the_start_does_not_prove_that_none_follows() {
        const STORE: u64 = 9;
        let limits = Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 };
        let retention = Retention { messages: 10, age: Duration::from_secs(60) };
        let channel = ChannelName::scoped("", "chat:");
        let position = |offset| Position { epoch: 1, offset: NonZeroU64::new(offset).unwrap() };
        let mut state = HistoryState::new(limits);
        // Two messages have been stored. The copy of the first arrives late, and that of the second is lost.
        state.start(StoreState { store: STORE, number: 2 });
        let mut append = |number| {
            let sender = Sender { name: "Aoi".into(), id: UserId::from(7) };
            let event = Event::new(channel.clone(), sender, "{}".into());
            let stored = Stored {
                store: STORE,
                number,
                at: unix_milliseconds(),
                positions: vec![(0, position(number))],
                is_plain_copy: false,
            };
            let entry = Arc::new(Entry::new(position(number), &stored, Content::Native(event)));
            state.append(&channel, retention, STORE, &entry);
            state.rings.missed(&channel, Since::Position(position(1)), unix_milliseconds())
        };
        assert!(append(1).is_none(), "the store has to be read");
        assert!(append(3).is_none());
    }

    #[test]
    fn what_a_subscription_is_not_sent_ends_where_the_node_catches_up() {
        let state_at = |number| StoreState { store: 9, number };
        let (listed, other) = (ChannelName::scoped("", "chat:a"), ChannelName::scoped("", "chat:b"));
        let mut state = HistoryState::new(Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 });
        (state.seen, state.delivered) = (Some(state_at(2)), Some(state_at(2)));
        assert_eq!(state.delivered_on(&other), Some(state_at(2)));
        // What is being read is published only on the channels that were listed.
        state.reading = Some(Reading { channels: [listed.clone()].into(), until: state_at(5) });
        assert_eq!(state.delivered_on(&listed), Some(state_at(2)));
        assert_eq!(state.delivered_on(&other), Some(state_at(5)));
        state.seen = Some(state_at(5));
        state.set_delivered_before(4);
        assert_eq!(state.delivered_on(&listed), Some(state_at(3)));
        // The numbers of another store say nothing about this one.
        state.seen = Some(StoreState { store: 1, number: 9 });
        state.set_delivered_before(8);
        assert_eq!(state.delivered_on(&listed), Some(state_at(3)));
    }

    #[test]
    fn after_a_gap_a_client_goes_on_where_it_was_if_the_node_was_behind() {
        const STORE: u64 = 9;
        let channel = ChannelName::scoped("", "chat:");
        let place = |epoch, offset| Position { epoch, offset: NonZeroU64::new(offset).unwrap() };
        let at = |epoch, offset| Some(Since::Position(place(epoch, offset)));
        let number = |store, number| Some(Since::Number { store, number });
        let mut state = HistoryState::new(Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 });
        state.start(StoreState { store: STORE, number: 10 });
        // The messages with the offsets 4 to 6 have the numbers 14 to 16.
        for offset in 4..7 {
            let sender = Sender { name: "Aoi".into(), id: UserId::from(7) };
            let event = Event::new(channel.clone(), sender, "{}".into());
            let (number, at) = (offset + 10, unix_milliseconds());
            let stored = Stored {
                store: STORE,
                number,
                at,
                positions: vec![(0, place(1, offset))],
                is_plain_copy: false,
            };
            let entry = Arc::new(Entry::new(place(1, offset), &stored, Content::Native(event)));
            let retention = Retention { messages: 10, age: Duration::from_secs(60) };
            state.append(&channel, retention, STORE, &entry);
        }
        let after_gap = |joined, since| state.after_gap(&channel, joined, since);
        for (joined, since, expected) in [
            // The node was behind the client, and the other way round.
            (at(1, 4), at(1, 5), (at(1, 5), Some(place(1, 5)))),
            (at(1, 5), at(1, 4), (at(1, 5), Some(place(1, 5)))),
            (number(STORE, 14), at(1, 5), (at(1, 5), Some(place(1, 5)))),
            (number(STORE, 15), at(1, 5), (number(STORE, 15), Some(place(1, 5)))),
            (number(STORE, 13), number(STORE, 15), (at(1, 5), Some(place(1, 5)))),
            (number(STORE, 13), number(STORE, 12), (number(STORE, 13), None)),
            // The node did not know the store yet.
            (None, at(1, 5), (at(1, 5), Some(place(1, 5)))),
            (number(1, 99), at(1, 5), (at(1, 5), Some(place(1, 5)))),
            (at(7, 9), at(1, 5), (at(1, 5), Some(place(1, 5)))),
            // It may hold what it has published of a store that has been lost.
            (at(7, 8), at(7, 9), (at(7, 9), Some(place(7, 9)))),
            (number(STORE, 14), at(7, 9), (number(STORE, 14), Some(place(7, 9)))),
            // What does not exist says nothing about what does.
            (at(1, 4), at(1, 7), (at(1, 4), Some(place(1, 4)))),
            (number(STORE, 13), None, (number(STORE, 13), None)),
            (None, None, (None, None)),
        ] {
            assert_eq!(after_gap(joined, since), expected, "{joined:?} {since:?}");
        }
    }
}
