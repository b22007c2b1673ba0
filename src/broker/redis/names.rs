use std::sync::Arc;

use crate::broker::{EVENTS, SIGNALS};

/// What topics are called in Redis.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    /// Where events travel.
    pub(super) events: Arc<[u8]>,
    /// Where signals travel.
    pub(super) signals: Arc<[u8]>,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |topic| format!("{prefix}{topic}").into_bytes().into();
        Self { prefix: prefix.to_owned(), events: name(EVENTS), signals: name(SIGNALS) }
    }

    /// The topics that every node is subscribed to, for people.
    pub(super) fn both(&self) -> String {
        let [events, signals] = [&self.events, &self.signals].map(|name| String::from_utf8_lossy(name));
        format!("topics {events} and {signals}")
    }

    /// What a topic is called in Redis.
    pub(super) fn of(&self, topic: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), topic.as_bytes()].concat()
    }

    /// The pattern of all topics that begin so.
    pub(super) fn all(&self, beginning: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.of(beginning) {
            if b"*?[]\\".contains(&byte) {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// The topic of that name, if it is one of the application's.
    pub(super) fn topic<'n>(&self, name: &'n [u8]) -> Option<&'n str> {
        std::str::from_utf8(name.strip_prefix(self.prefix.as_bytes())?).ok()
    }
}
