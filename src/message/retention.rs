use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::ChannelName;

/// How much of a channel's history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// At most this many messages, at least one.
    #[serde(deserialize_with = "at_least_one")]
    pub messages: u32,
    /// Messages of at most this age, at least a millisecond and at most 30 days.
    #[serde(deserialize_with = "age")]
    pub age: Duration,
}

/// Which channels have a history. By default none has.
#[derive(Debug, Clone)]
pub struct RetentionTable {
    /// By the kind of native channels, for each kind that has rules.
    pub kinds: HashMap<String, Option<Retention>>,
    /// Of native channels whose kind has no rules.
    pub other_kinds: Option<Retention>,
    /// By the ID of the app. The first rule that matches applies.
    pub apps: HashMap<Arc<str>, Vec<(ChannelPattern, Retention)>>,
    /// Maximum bytes that the broker stores of a channel.
    pub channel_bytes: usize,
}

impl Default for RetentionTable {
    fn default() -> Self {
        Self { kinds: HashMap::new(), other_kinds: None, apps: HashMap::new(), channel_bytes: 8 << 20 }
    }
}

/// The table in force, which can be replaced while messages are published.
#[derive(Debug)]
pub struct RetentionRules {
    table: ArcSwap<RetentionTable>,
    /// The store is in use from the start on, or never.
    is_empty: bool,
    channel_bytes: usize,
}

/// A channel name, or the beginning of channel names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelPattern {
    Name(Box<str>),
    Prefix(Box<str>),
}

impl RetentionTable {
    /// Whether no channel has a history.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_native = self.kinds.values().chain([&self.other_kinds]).any(Option::is_some);
        !has_native && self.apps.is_empty()
    }

    fn of(&self, channel: &ChannelName) -> Option<Retention> {
        match channel.as_str().split_once(ChannelName::SCOPE_END) {
            Some((app, name)) => self.of_app(app, name),
            None => self.kinds.get(channel.kind()).copied().unwrap_or(self.other_kinds),
        }
    }

    fn of_app(&self, app: &str, channel: &str) -> Option<Retention> {
        let rules = self.apps.get(app)?;
        rules.iter().find(|(pattern, _)| pattern.matches(channel)).map(|(_, retention)| *retention)
    }
}

impl RetentionRules {
    #[must_use]
    pub fn new(table: RetentionTable) -> Self {
        let (is_empty, channel_bytes) = (table.is_empty(), table.channel_bytes);
        Self { table: ArcSwap::from_pointee(table), is_empty, channel_bytes }
    }

    /// Replaces the rules, unless they [were empty](Self::is_empty). The bytes of a channel stay.
    pub fn set(&self, table: RetentionTable) {
        if !self.is_empty {
            self.table.store(Arc::new(table));
        }
    }

    /// Whether no channel had a history when these rules were made. Then none can be given one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The retention of a channel, which has the scope of its app if it belongs to one.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Option<Retention> {
        if self.is_empty { None } else { self.table.load().of(channel) }
    }

    /// The retention of a channel of an app.
    #[must_use]
    pub fn of_app(&self, app: &str, channel: &str) -> Option<Retention> {
        self.table.load().of_app(app, channel)
    }

    /// The channels of an app that have a history.
    #[must_use]
    pub fn patterns(&self, app: &str) -> Vec<ChannelPattern> {
        let table = self.table.load();
        table.apps.get(app).into_iter().flatten().map(|(pattern, _)| pattern.clone()).collect()
    }

    /// Maximum bytes that the broker stores of a channel.
    #[must_use]
    pub const fn channel_bytes(&self) -> usize {
        self.channel_bytes
    }
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self::new(RetentionTable::default())
    }
}

impl ChannelPattern {
    /// Reads `private-orders.*` or `news`: a `*` at the end stands for any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Name(text.into()),
        }
    }

    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        match self {
            Self::Name(name) => **name == *channel,
            Self::Prefix(prefix) => channel.starts_with(&**prefix),
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let messages = u32::deserialize(deserializer)?;
    if messages > 0 { Ok(messages) } else { Err(D::Error::custom("must be at least 1")) }
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    /// The store remembers a silent channel for as long.
    const MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let age: Duration = humantime_serde::deserialize(deserializer)?;
    if age.as_millis() == 0 {
        Err(D::Error::custom("must be longer than 0s"))
    } else if age > MAX {
        Err(D::Error::custom("must be at most 30days"))
    } else {
        Ok(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_the_retention_of_their_kind_or_of_the_first_pattern() {
        let keep = |messages| Retention { messages, age: Duration::from_secs(1) };
        let rules = RetentionRules::new(RetentionTable {
            kinds: HashMap::from([("chat".into(), Some(keep(1))), ("tweet".into(), None)]),
            other_kinds: Some(keep(9)),
            apps: HashMap::from([(
                "a".into(),
                ["news", "private-orders.*", "private-*"]
                    .into_iter()
                    .zip(2..)
                    .map(|(pattern, messages)| (ChannelPattern::new(pattern), keep(messages)))
                    .collect(),
            )]),
            ..RetentionTable::default()
        });
        let of = |scope: &str, name: &str| {
            let channel = if scope.is_empty() {
                ChannelName::new(name).unwrap()
            } else {
                ChannelName::scoped(scope, name)
            };
            rules.of(&channel).map(|retention| retention.messages)
        };
        assert_eq!([of("", "chat:1"), of("", "chat"), of("", "chats")], [Some(1), Some(1), Some(9)]);
        assert_eq!(of("", "tweet:"), None);
        assert_eq!([of("a", "news"), of("a", "news2"), of("a", "chat:1")], [Some(2), None, None]);
        assert_eq!(
            [of("a", "private-orders.1"), of("a", "private-x"), of("b", "news")],
            [Some(3), Some(4), None]
        );
    }

    #[test]
    fn rules_are_replaced_but_the_store_is_not_turned_on() {
        let keep = |messages| Some(Retention { messages, age: Duration::from_secs(1) });
        let table = |other_kinds| RetentionTable { other_kinds, ..RetentionTable::default() };
        let channel = ChannelName::new("chat:1").unwrap();
        let rules = RetentionRules::new(table(keep(1)));
        for other in [keep(2), None, keep(3)] {
            rules.set(table(other));
            assert_eq!(rules.of(&channel), other);
            assert!(!rules.is_empty());
        }
        let off = RetentionRules::default();
        off.set(table(keep(1)));
        assert_eq!(off.of(&channel), None);
    }
}
