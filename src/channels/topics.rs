//! The broker's topics of channels, on which Laravel's `redis` broadcaster publishes: it names no app, so they belong to the
//! first one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::pending::Completion;
use crate::broker::{Broker, SubscribeOutcome, SubscriptionId};
use crate::message::{ChannelName, Dialect};

pub(super) struct Topics {
    broker: Arc<Broker>,
    dialect: &'static dyn Dialect,
    /// The app to which they belong.
    app: Option<Arc<str>>,
    /// Topics that the broker has not confirmed yet: no subscription to their channels succeeds before that.
    pending: HashMap<ChannelName, PendingTopic>,
    /// The reserved channels that have been logged.
    logged: HashSet<ChannelName>,
}

/// A topic that the broker has not confirmed yet, and the completions that wait for it.
pub(super) struct PendingTopic {
    number: u64,
    pub(super) waiting: Vec<Completion>,
}

impl Topics {
    pub(super) fn new(broker: Arc<Broker>, dialect: &'static dyn Dialect, app: Option<Arc<str>>) -> Self {
        Self { broker, dialect, app, pending: HashMap::new(), logged: HashSet::new() }
    }

    /// The app to which topics belong.
    pub(super) const fn app(&self) -> Option<&Arc<str>> {
        self.app.as_ref()
    }

    /// Makes them those of another app. No channel of either may have a topic.
    pub(super) fn set_app(&mut self, app: Option<Arc<str>>) {
        self.app = app;
    }

    /// The first connection of this node is on a channel.
    pub(super) fn enter(&mut self, app: &Arc<str>, channel: &ChannelName) {
        if !self.has_topic(app, channel) {
            return;
        }
        match self.broker.subscribe(channel.as_str()) {
            SubscribeOutcome::Pending(SubscriptionId { number, .. }) => {
                self.pending.insert(channel.clone(), PendingTopic { number, waiting: Vec::new() });
            }
            SubscribeOutcome::Reserved if matches!(*self.broker, Broker::Redis(_)) => {
                if self.logged.insert(channel.clone()) {
                    tracing::warn!(
                        channel = channel.as_str(),
                        "reserved topic: what Laravel's redis broadcaster publishes on this channel is not delivered"
                    );
                }
            }
            SubscribeOutcome::Active | SubscribeOutcome::AlreadySubscribed | SubscribeOutcome::Reserved => {}
        }
    }

    /// The last connection of this node has left a channel. Returns the completions that still waited, and whether
    /// the node is still subscribed to the topic, by a prefix.
    pub(super) fn exit(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
    ) -> Option<(Option<PendingTopic>, bool)> {
        if !self.has_topic(app, channel) {
            return None;
        }
        self.broker.unsubscribe(channel.as_str());
        Some((self.take(channel), self.is_subscribed(channel.as_str())))
    }

    /// Waits for the topic of a channel if it is not confirmed yet. Returns whether it waits.
    pub(super) fn wait(
        &mut self,
        app: &Arc<str>,
        channel: &ChannelName,
        completion: impl FnOnce() -> Completion,
    ) -> bool {
        let is_pending = !self.pending.is_empty() && self.has_topic(app, channel);
        let Some(pending) = self.pending.get_mut(channel).filter(|_| is_pending) else { return false };
        pending.waiting.push(completion());
        true
    }

    /// The broker has confirmed a topic. Returns the completions that waited for it.
    pub(super) fn confirmed(&mut self, SubscriptionId { topic, number }: &SubscriptionId) -> Vec<Completion> {
        let Ok(channel) = ChannelName::new(topic) else { return Vec::new() };
        if self.pending.get(&channel).is_none_or(|pending| pending.number != *number) {
            return Vec::new();
        }
        self.take(&channel).map_or_else(Vec::new, |pending| pending.waiting)
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.broker.is_subscribed(topic)
    }

    fn take(&mut self, channel: &ChannelName) -> Option<PendingTopic> {
        let pending = self.pending.remove(channel)?;
        if self.pending.len() < self.pending.capacity() / 8 {
            self.pending.shrink_to_fit();
        }
        Some(pending)
    }

    fn has_topic(&self, app: &Arc<str>, channel: &ChannelName) -> bool {
        !channel.is_scoped() && self.app.as_ref() == Some(app) && self.dialect.kind(channel).is_listed
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}
