//! The last events of an app's cache channels.

use std::collections::{BTreeMap, HashMap};

use crate::message::{ChannelName, Frame};

/// So many bytes of one app's events are kept; the oldest go first.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What an entry costs beside its texts.
const OVERHEAD: usize = 256;

/// Keeps one event a channel, for a time. `now` is in milliseconds and never goes back.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<ChannelName, Entry>,
    /// By age: what the entries were given when they were kept.
    order: BTreeMap<u64, ChannelName>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    event: String,
    data: String,
    frame: Frame,
    kept: u64,
    order: u64,
    /// It came by a topic, which not every node may listen to.
    by_topic: bool,
    /// Something may have been missed since.
    is_doubtful: bool,
}

impl Entry {
    fn cost(&self, channel: &ChannelName) -> usize {
        let texts = self.event.len() + self.data.len() + self.frame.bytes().len();
        texts + channel.as_str().len() + OVERHEAD
    }
}

/// An event to keep.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) event: String,
    pub(super) data: String,
    pub(super) frame: Frame,
    /// When it was published.
    pub(super) at: u64,
    pub(super) by_topic: bool,
}

/// An event that is kept, for other nodes.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) event: &'a str,
    pub(super) data: &'a str,
    /// For how long it has been kept, in milliseconds.
    pub(super) age: u64,
    pub(super) by_topic: bool,
}

impl Cache {
    pub(super) fn keep(&mut self, channel: &ChannelName, kept: Kept) {
        self.forget(channel);
        let Kept { event, data, frame, at, by_topic } = kept;
        let entry = Entry { event, data, frame, kept: at, order: self.next, by_topic, is_doubtful: false };
        self.bytes += entry.cost(channel);
        self.order.insert(entry.order, channel.clone());
        self.entries.insert(channel.clone(), entry);
        self.next += 1;
        while self.bytes > MAX_BYTES && self.evict() {}
    }

    /// What another node has kept: it counts where this one knows nothing better.
    pub(super) fn fill(&mut self, channel: &ChannelName, kept: Kept) {
        let is_better = |entry: &Entry| entry.is_doubtful && entry.kept < kept.at;
        if self.entries.get(channel).is_none_or(is_better) {
            self.keep(channel, kept);
        }
    }

    /// The node may have missed events: what others tell is better from now on.
    pub(super) fn doubt(&mut self) {
        for entry in self.entries.values_mut() {
            entry.is_doubtful = true;
        }
    }

    /// The last event, not older than `ttl`.
    pub(super) fn get(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<Frame> {
        self.find(channel, ttl, now).map(|(entry, _)| entry.frame.clone())
    }

    /// Its data, and for how long it is still kept.
    pub(super) fn data(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<(&str, u64)> {
        self.find(channel, ttl, now).map(|(entry, left)| (&*entry.data, left))
    }

    fn find(&self, channel: &ChannelName, ttl: u64, now: u64) -> Option<(&Entry, u64)> {
        let entry = self.entries.get(channel)?;
        let left = ttl.saturating_sub(now.saturating_sub(entry.kept));
        (left > 0).then_some((entry, left))
    }

    /// The node listens to the channel's topic no more, so that what came by it would grow stale.
    pub(super) fn unlistened(&mut self, channel: &ChannelName) {
        if self.entries.get(channel).is_some_and(|entry| entry.by_topic) {
            self.forget(channel);
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, ttl: u64, now: u64) {
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

    /// All that is kept, as it is now.
    pub(super) fn all(&self, now: u64) -> impl Iterator<Item = (&ChannelName, Shared<'_>)> {
        self.entries.iter().map(move |(channel, entry)| {
            let Entry { event, data, kept, by_topic, .. } = entry;
            (channel, Shared { event, data, age: now.saturating_sub(*kept), by_topic: *by_topic })
        })
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
    fn the_last_event_for_a_time() {
        let mut cache = Cache::default();
        let a = channel("cache-a");
        cache.keep(&a, kept("1", 0, false));
        cache.keep(&a, kept("2", 5, false));
        assert_eq!(cache.get(&a, 10, 14), Some(Frame::text(&[b"2"])));
        assert_eq!(cache.get(&a, 10, 15), None);
        assert_eq!((cache.data(&a, 10, 14), cache.data(&a, 10, 15)), (Some(("2", 1)), None));
        cache.expire(10, 15);
        assert_eq!((cache.bytes, cache.order.len(), cache.entries.len()), (0, 0, 0));
    }

    #[test]
    fn others_know_better_only_where_something_was_missed() {
        let mut cache = Cache::default();
        let a = channel("cache-a");
        let get = |cache: &Cache| cache.get(&a, 10, 2);
        cache.fill(&a, kept("1", 0, false));
        cache.fill(&a, kept("2", 0, false));
        assert_eq!(get(&cache), Some(Frame::text(&[b"1"])));
        cache.doubt();
        assert_eq!(get(&cache), Some(Frame::text(&[b"1"])));
        cache.fill(&a, kept("older", 0, false));
        cache.fill(&a, kept("2", 1, false));
        cache.fill(&a, kept("3", 2, false));
        assert_eq!(get(&cache), Some(Frame::text(&[b"2"])));
    }

    #[test]
    fn what_came_by_a_topic_goes_with_it() {
        let mut cache = Cache::default();
        let (a, b) = (channel("cache-a"), channel("cache-b"));
        cache.keep(&a, kept("1", 0, true));
        cache.keep(&b, kept("1", 0, false));
        let mut ages: Vec<_> = cache.all(3).map(|(_, event)| (event.by_topic, event.age)).collect();
        ages.sort_unstable();
        assert_eq!(ages, [(false, 3), (true, 3)]);
        cache.unlistened(&a);
        cache.unlistened(&b);
        assert!(cache.get(&a, 10, 0).is_none() && cache.get(&b, 10, 0).is_some());
    }

    #[test]
    fn it_is_bounded() {
        let mut cache = Cache::default();
        let data = "x".repeat(MAX_BYTES / 20);
        for number in 0..100 {
            cache.keep(&channel(&format!("cache-{number}")), kept(&data, 0, false));
        }
        assert!(cache.bytes <= MAX_BYTES && cache.entries.len() < 20 && cache.entries.len() > 5);
        assert!(cache.get(&channel("cache-99"), 1, 0).is_some());
    }
}
