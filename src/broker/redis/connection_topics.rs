use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// What one connection has subscribed or asked for, so that it only sends commands that change something.
#[derive(Debug, Default)]
pub(super) struct ConnectionTopics {
    /// While Redis has not confirmed a topic: the number of its latest SUBSCRIBE. Answers to earlier ones are stale.
    topics: HashMap<Arc<str>, Option<NonZeroU64>>,
    confirmed_prefixes: Vec<Arc<str>>,
    subscribe_count: u64,
}

/// A command that brings the connection closer to the desired topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopicCommand {
    /// The topic, and the number of this SUBSCRIBE.
    Subscribe(Arc<str>, NonZeroU64),
    Unsubscribe(Arc<str>),
    /// Subscribes all topics with this prefix.
    SubscribePrefix(Arc<str>),
}

/// How a topic stands on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicState {
    Unsubscribed,
    Requested,
    Confirmed,
}

impl ConnectionTopics {
    pub(super) fn state(&self, topic: &str) -> TopicState {
        match self.topics.get(topic) {
            None => TopicState::Unsubscribed,
            Some(Some(_)) => TopicState::Requested,
            Some(None) => TopicState::Confirmed,
        }
    }

    pub(super) fn has_prefix(&self, prefix: &Arc<str>) -> bool {
        self.confirmed_prefixes.contains(prefix)
    }

    pub(super) fn subscribe(&mut self, topic: Arc<str>) -> TopicCommand {
        self.subscribe_count += 1;
        let number = NonZeroU64::new(self.subscribe_count).unwrap_or(NonZeroU64::MIN);
        self.topics.insert(topic.clone(), Some(number));
        TopicCommand::Subscribe(topic, number)
    }

    pub(super) fn unsubscribe(&mut self, topic: Arc<str>) -> TopicCommand {
        self.topics.remove(&topic);
        if self.topics.len() < self.topics.capacity() / 8 {
            self.topics.shrink_to_fit();
        }
        TopicCommand::Unsubscribe(topic)
    }

    /// Redis has answered a SUBSCRIBE. Returns whether that was the topic's latest one, which confirms it.
    pub(super) fn confirm(&mut self, topic: &str, number: NonZeroU64) -> bool {
        let requested = self.topics.get_mut(topic);
        requested.and_then(|requested| requested.take_if(|latest| *latest == number)).is_some()
    }

    pub(super) fn confirm_prefix(&mut self, prefix: Arc<str>) {
        self.confirmed_prefixes.push(prefix);
    }
}
