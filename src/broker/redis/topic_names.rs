use std::sync::Arc;

use crate::broker::{EVENTS, SIGNALS};

/// Translates topics to Redis channels, which carry the prefix.
#[derive(Debug)]
pub(super) struct TopicNames {
    prefix: String,
    /// The channel of events.
    pub(super) events: Arc<[u8]>,
    /// The channel of signals.
    pub(super) signals: Arc<[u8]>,
}

impl TopicNames {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |topic| format!("{prefix}{topic}").into_bytes().into();
        Self { prefix: prefix.to_owned(), events: name(EVENTS), signals: name(SIGNALS) }
    }

    /// Whether the nodes use a channel themselves.
    pub(super) fn is_reserved(&self, channel: &[u8]) -> bool {
        *channel == *self.events || *channel == *self.signals
    }

    /// The channels that every node subscribes to, for logs.
    pub(super) fn describe(&self) -> String {
        let [events, signals] = [&self.events, &self.signals].map(|name| String::from_utf8_lossy(name));
        format!("topics {events} and {signals}")
    }

    pub(super) fn channel(&self, topic: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), topic.as_bytes()].concat()
    }

    /// The pattern that matches the channels of all topics with this prefix.
    pub(super) fn prefix_pattern(&self, topic_prefix: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.channel(topic_prefix) {
            if b"*?[]\\".contains(&byte) {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// The topic of a channel. `None` if the channel lacks the prefix or is not UTF-8.
    pub(super) fn topic<'n>(&self, channel: &'n [u8]) -> Option<&'n str> {
        std::str::from_utf8(channel.strip_prefix(self.prefix.as_bytes())?).ok()
    }
}
