use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
pub struct RetentionRules {
    /// By the kind of native channels, for each kind that has rules.
    pub kinds: HashMap<String, Option<Retention>>,
    /// Of native channels whose kind has no rules.
    pub other_kinds: Option<Retention>,
    /// By the ID of the app. The first rule that matches applies.
    pub apps: HashMap<Arc<str>, Vec<(ChannelPattern, Retention)>>,
    /// Maximum bytes that the broker stores of a channel.
    pub channel_bytes: usize,
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self { kinds: HashMap::new(), other_kinds: None, apps: HashMap::new(), channel_bytes: 8 << 20 }
    }
}

/// A channel name, or the beginning of channel names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelPattern {
    Name(Box<str>),
    Prefix(Box<str>),
}

impl RetentionRules {
    /// Whether no channel has a history.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_native = self.kinds.values().chain([&self.other_kinds]).any(Option::is_some);
        !has_native && self.apps.is_empty()
    }

    /// The retention of a channel, which has the scope of its app if it belongs to one.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Option<Retention> {
        match channel.as_str().split_once(ChannelName::SCOPE_END) {
            Some((app, name)) => self.of_app(app, name),
            None => self.kinds.get(channel.kind()).copied().unwrap_or(self.other_kinds),
        }
    }

    /// The retention of a channel of an app.
    #[must_use]
    pub fn of_app(&self, app: &str, channel: &str) -> Option<Retention> {
        let rules = self.apps.get(app)?;
        rules.iter().find(|(pattern, _)| pattern.matches(channel)).map(|(_, retention)| *retention)
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
        let rules = RetentionRules {
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
            ..RetentionRules::default()
        };
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
}
