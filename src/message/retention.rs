use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::ChannelName;

/// How much of a channel's history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most this many messages, at least one.
    pub messages: u32,
    /// Messages of at most this age.
    pub age: Duration,
}

/// Which channels have a history. By default none has.
#[derive(Debug, Clone, Default)]
pub struct RetentionRules {
    /// By the kind of native channels.
    pub kinds: HashMap<String, Retention>,
    /// Of native channels whose kind has no rules.
    pub other_kinds: Option<Retention>,
    /// By the ID of the app. The first rule that matches applies.
    pub apps: HashMap<Arc<str>, Vec<(ChannelPattern, Retention)>>,
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
        self.kinds.is_empty() && self.other_kinds.is_none() && self.apps.is_empty()
    }

    /// The retention of a channel, which has the scope of its app if it belongs to one.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Option<Retention> {
        match channel.as_str().split_once(ChannelName::SCOPE_END) {
            Some((app, name)) => self.of_app(app, name),
            None => self.kinds.get(channel.kind()).copied().or(self.other_kinds),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_the_retention_of_their_kind_or_of_the_first_pattern() {
        let keep = |messages| Retention { messages, age: Duration::from_secs(1) };
        let rules = RetentionRules {
            kinds: HashMap::from([("chat".into(), keep(1))]),
            other_kinds: None,
            apps: HashMap::from([(
                "a".into(),
                ["news", "private-orders.*", "private-*"]
                    .into_iter()
                    .zip(2..)
                    .map(|(pattern, messages)| (ChannelPattern::new(pattern), keep(messages)))
                    .collect(),
            )]),
        };
        let of = |scope: &str, name: &str| {
            let channel = if scope.is_empty() {
                ChannelName::new(name).unwrap()
            } else {
                ChannelName::scoped(scope, name)
            };
            rules.of(&channel).map(|retention| retention.messages)
        };
        assert_eq!([of("", "chat:1"), of("", "chat"), of("", "chats")], [Some(1), Some(1), None]);
        assert_eq!([of("a", "news"), of("a", "news2"), of("a", "chat:1")], [Some(2), None, None]);
        assert_eq!(
            [of("a", "private-orders.1"), of("a", "private-x"), of("b", "news")],
            [Some(3), Some(4), None]
        );
    }
}
