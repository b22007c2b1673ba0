//! The last event of each cache channel of an app, and how the nodes agree on it.
//!
//! A node that may have missed something sends a request, which every node receives at the same position in the broker's
//! order. The nodes then respond one after another, each with the entries that no other node has sent since: usually the first
//! one sends everything and the others nothing. Two entries of a channel are compared without clocks:
//!
//! * An entry that a node has received directly since it last may have missed something is *certain*: it is the last event.
//! * Otherwise the higher version is the newer one. A version counts the kept events, the same way on all nodes,
//!   because each node continues from the highest one that it knows.

use std::collections::{BTreeMap, HashMap};

use crate::message::{ChannelName, Frame};

/// Maximum bytes of one app's events; the oldest are dropped first.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The memory that an entry takes in addition to its texts, in bytes.
const OVERHEAD: usize = 256;

/// Keeps one event per channel, for a limited time. `now` is in milliseconds and never goes back.
#[derive(Debug, Default)]
pub struct LastEvents {
    entries: HashMap<ChannelName, LastEvent>,
    /// Channels by the age of their entries.
    order: BTreeMap<u64, ChannelName>,
    next: u64,
    bytes: usize,
    /// The highest version that this node knows of.
    version: u64,
    /// Increases when something may have been missed.
    epoch: u64,
    /// Increases with every request for last events.
    round: u64,
    /// The position in `order` up to which this round has been scanned.
    cursor: u64,
}

#[derive(Debug)]
struct LastEvent {
    event: String,
    data: String,
    frame: Frame,
    kept: u64,
    order: u64,
    /// It arrived by a topic, to which not every node may be subscribed.
    by_topic: bool,
    version: u64,
    /// The epoch in which it became certain; `None` if no node was certain of it.
    epoch: Option<u64>,
    /// The last round in which it was sent, or did not have to be.
    round: u64,
}

impl LastEvent {
    fn cost(&self, channel: &ChannelName) -> usize {
        let texts = self.event.len() + self.data.len() + self.frame.bytes().len();
        texts + channel.as_str().len() + OVERHEAD
    }
}

/// An event to keep.
#[derive(Debug)]
pub struct Kept {
    pub event: String,
    pub data: String,
    pub frame: Frame,
    /// When it was published.
    pub at: u64,
    pub by_topic: bool,
}

/// What a node knows about an entry besides the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knowledge {
    pub version: u64,
    pub certain: bool,
}

/// A kept event, for other nodes.
#[derive(Debug)]
pub struct Shared<'a> {
    pub channel: &'a ChannelName,
    pub event: &'a str,
    pub data: &'a str,
    /// Its age in milliseconds.
    pub age: u64,
    pub by_topic: bool,
    pub knowledge: Knowledge,
}

impl Shared<'_> {
    /// The length of its texts in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.channel.as_str().len() + self.event.len() + self.data.len()
    }
}

impl LastEvents {
    /// Keeps an event that has arrived. It has arrived at every other subscribed node as well.
    pub fn keep(&mut self, channel: &ChannelName, kept: Kept) {
        self.version += 1;
        self.insert(channel, kept, self.version, Some(self.epoch));
    }

    fn insert(&mut self, channel: &ChannelName, kept: Kept, version: u64, epoch: Option<u64>) {
        self.forget(channel);
        let Kept { event, data, frame, at, by_topic } = kept;
        let (order, round) = (self.next, self.round);
        let entry = LastEvent { event, data, frame, kept: at, order, by_topic, version, epoch, round };
        self.bytes += entry.cost(channel);
        self.order.insert(entry.order, channel.clone());
        self.entries.insert(channel.clone(), entry);
        self.next += 1;
        while self.bytes > MAX_BYTES && self.evict() {}
    }

    /// Merges an entry of another node, which is taken unless this node has a better one. A better one is sent to the other
    /// nodes.
    pub fn merge(&mut self, channel: &ChannelName, kept: Kept, theirs: Knowledge) {
        self.version = self.version.max(theirs.version);
        let epoch = theirs.certain.then_some(self.epoch);
        let Some(own) = self.entries.get_mut(channel) else {
            return self.insert(channel, kept, theirs.version, epoch);
        };
        let is_certain = own.epoch == Some(self.epoch);
        if own.event == kept.event && own.data == kept.data {
            own.version = own.version.max(theirs.version);
            own.epoch = if is_certain { own.epoch } else { epoch };
            own.round = self.round;
            return;
        }
        // Between indistinguishable entries the texts decide, so that all nodes make the same decision.
        let is_newer = || (theirs.version, &kept.event, &kept.data) > (own.version, &own.event, &own.data);
        if !is_certain && (theirs.certain || is_newer()) {
            self.insert(channel, kept, theirs.version, epoch);
        }
    }

    /// The node may have missed events: entries of which other nodes are certain take precedence now.
    pub const fn may_have_missed(&mut self) {
        self.epoch += 1;
    }

    /// A node has sent a request: each entry has to be sent by one of the nodes.
    pub const fn begin_round(&mut self) {
        self.round += 1;
        self.cursor = 0;
    }

    /// Passes to `share` what no node has sent since the last request, until it returns false or `most` entries have been visited.
    /// Returns whether there may be more.
    pub fn share(&mut self, now: u64, most: usize, mut share: impl FnMut(Shared<'_>) -> bool) -> bool {
        let mut looked_at = 0;
        for (order, channel) in self.order.range(self.cursor..).take(most) {
            looked_at += 1;
            self.cursor = order + 1;
            let Some(entry) = self.entries.get_mut(channel) else { continue };
            if std::mem::replace(&mut entry.round, self.round) == self.round {
                continue;
            }
            let knowledge = Knowledge { version: entry.version, certain: entry.epoch == Some(self.epoch) };
            let LastEvent { event, data, kept, by_topic, .. } = entry;
            let age = now.saturating_sub(*kept);
            if !share(Shared { channel, event, data, age, by_topic: *by_topic, knowledge }) {
                return true;
            }
        }
        if looked_at < most {
            // Even if the last entries have been forgotten.
            self.cursor = self.next;
        }
        self.cursor < self.next
    }

    /// The last event, not older than `ttl`.
    #[must_use]
    pub fn frame(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<Frame> {
        self.find(channel, ttl, now).map(|(entry, _)| entry.frame.clone())
    }

    /// The data of the last event, and its remaining lifetime.
    #[must_use]
    pub fn last(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<(&str, u64)> {
        self.find(channel, ttl, now).map(|(entry, left)| (&*entry.data, left))
    }

    fn find(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<(&LastEvent, u64)> {
        let entry = self.entries.get(channel)?;
        let left = ttl.saturating_sub(now.saturating_sub(entry.kept));
        (left > 0).then_some((entry, left))
    }

    /// The node is no longer subscribed to the topic of a channel, so that what arrived by it would become stale.
    pub fn unsubscribed(&mut self, channel: &ChannelName) {
        if self.entries.get(channel).is_some_and(|entry| entry.by_topic) {
            self.forget(channel);
        }
    }

    /// Removes expired entries.
    pub fn expire(&mut self, ttl: u64, now: u64) {
        let old: Vec<ChannelName> = self
            .entries
            .iter()
            .filter(|(_, entry)| now.saturating_sub(entry.kept) >= ttl)
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in old {
            self.forget(&channel);
        }
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
        }
    }

    fn evict(&mut self) -> bool {
        let Some((_, channel)) = self.order.pop_first() else { return false };
        self.forget(&channel);
        true
    }

    fn forget(&mut self, channel: &ChannelName) {
        if let Some(entry) = self.entries.remove(channel) {
            self.order.remove(&entry.order);
            self.bytes = self.bytes.saturating_sub(entry.cost(channel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    fn kept(data: &str, at: u64, by_topic: bool) -> Kept {
        let frame = Frame::text(&[data.as_bytes()]);
        Kept { event: "e".into(), data: data.into(), frame, at, by_topic }
    }

    #[test]
    fn the_last_event_is_kept_for_a_time() {
        let mut history = LastEvents::default();
        let a = channel("cache-a");
        history.keep(&a, kept("1", 0, false));
        history.keep(&a, kept("2", 5, false));
        assert_eq!(history.frame(&a, 10, 14), Some(Frame::text(&[b"2"])));
        assert_eq!(history.frame(&a, 10, 15), None);
        assert_eq!((history.last(&a, 10, 14), history.last(&a, 10, 15)), (Some(("2", 1)), None));
        history.expire(10, 15);
        assert_eq!((history.bytes, history.order.len(), history.entries.len()), (0, 0, 0));
    }

    fn frame(data: &str) -> Frame {
        Frame::text(&[data.as_bytes()])
    }

    /// Merges what a history sends in a round into the others.
    fn send(from: &mut LastEvents, to: &mut [&mut LastEvents]) -> usize {
        let mut sent = Vec::new();
        while from.share(0, 2, |shared| {
            let kept = kept(shared.data, 0, shared.by_topic);
            sent.push((shared.channel.clone(), kept, shared.knowledge));
            true
        }) {}
        for (channel, entry, knowledge) in &sent {
            for history in to.iter_mut() {
                history.merge(channel, kept(&entry.data, entry.at, entry.by_topic), *knowledge);
            }
        }
        sent.len()
    }

    #[test]
    fn the_last_event_wins_whichever_node_missed_it_and_whichever_sends_first() {
        let a = channel("cache-a");
        let get = |history: &LastEvents| history.frame(&a, 10, 0);
        for first_to_send in 0..3 {
            let [mut one, mut two, mut three, mut new] = [(); 4].map(|()| LastEvents::default());
            for history in [&mut one, &mut two, &mut three] {
                history.keep(&a, kept("old", 0, false));
            }
            // Two nodes are cut off, and the third one receives an event.
            one.may_have_missed();
            two.may_have_missed();
            three.keep(&a, kept("a newer one", 0, false));
            let mut all = [one, two, three, std::mem::take(&mut new)];
            for history in &mut all {
                history.begin_round();
            }
            for turn in 0..4 {
                let mut sender = std::mem::take(&mut all[(first_to_send + turn) % 4]);
                let mut others: Vec<&mut LastEvents> = all.iter_mut().collect();
                send(&mut sender, &mut others);
                all[(first_to_send + turn) % 4] = sender;
            }
            for history in &all {
                assert_eq!(get(history), Some(frame("a newer one")), "{first_to_send}");
            }
        }
    }

    #[test]
    fn if_no_node_is_certain_the_newest_event_wins() {
        let a = channel("cache-a");
        let [mut one, mut two] = [(); 2].map(|()| LastEvents::default());
        one.keep(&a, kept("z", 0, false));
        two.keep(&a, kept("z", 0, false));
        two.keep(&a, kept("a", 0, false));
        for history in [&mut one, &mut two] {
            history.may_have_missed();
            history.begin_round();
        }
        send(&mut one, &mut [&mut two]);
        send(&mut two, &mut [&mut one]);
        assert_eq!(
            [&one, &two].map(|history| history.frame(&a, 10, 0)),
            [Some(frame("a")), Some(frame("a"))]
        );
        // What is received afterwards is newer on both.
        one.keep(&a, kept("b", 0, false));
        one.begin_round();
        two.begin_round();
        send(&mut one, &mut [&mut two]);
        assert_eq!(two.frame(&a, 10, 0), Some(frame("b")));
    }

    #[test]
    fn one_node_sends_everything_and_the_others_nothing() {
        let [mut one, mut two, mut new] = [(); 3].map(|()| LastEvents::default());
        for number in 0..50 {
            for history in [&mut one, &mut two] {
                history.keep(&channel(&format!("cache-{number}")), kept("1", 0, false));
            }
        }
        for history in [&mut one, &mut two, &mut new] {
            history.begin_round();
        }
        assert_eq!(send(&mut one, &mut [&mut two, &mut new]), 50);
        two.unsubscribed(&channel("cache-49"));
        two.expire(0, 1);
        assert_eq!((send(&mut two, &mut []), send(&mut new, &mut [])), (0, 0));
        assert_eq!(new.entries.len(), 50);
    }

    #[test]
    fn events_that_arrived_by_a_topic_are_forgotten_with_it() {
        let mut history = LastEvents::default();
        let (a, b) = (channel("cache-a"), channel("cache-b"));
        history.keep(&a, kept("1", 0, true));
        history.keep(&b, kept("1", 0, false));
        history.unsubscribed(&a);
        history.unsubscribed(&b);
        assert!(history.frame(&a, 10, 0).is_none() && history.frame(&b, 10, 0).is_some());
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = LastEvents::default();
        let data = "x".repeat(MAX_BYTES / 20);
        for number in 0..100 {
            history.keep(&channel(&format!("cache-{number}")), kept(&data, 0, false));
        }
        assert!(history.bytes <= MAX_BYTES && history.entries.len() < 20 && history.entries.len() > 5);
        assert!(history.frame(&channel("cache-99"), 1, 0).is_some());
    }
}
