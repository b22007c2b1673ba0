use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::connection_topics::{ConnectionTopics, TopicCommand, TopicState};
use crate::broker::{Inbound, SUBSCRIBE_TIMEOUT, SubscribeOutcome, SubscriptionId};

/// The topics that this node wants to be subscribed to. Independent of any connection.
#[derive(Debug, Default)]
pub(super) struct DesiredTopics {
    state: Mutex<DesiredState>,
    /// There are changes for the connection to take.
    pub(super) changed: Notify,
    /// `deadlines` is no longer empty.
    first_deadline: Notify,
}

#[derive(Debug, Default)]
struct DesiredState {
    topics: HashSet<Arc<str>>,
    /// Topics that are never unsubscribed.
    kept: HashSet<Arc<str>>,
    prefixes: Vec<Prefix>,
    /// Prefixes that the connection has not taken yet.
    new_prefixes: Vec<Arc<str>>,
    /// Topics that Redis has not confirmed yet, with the numbers of their subscriptions.
    pending: HashMap<Arc<str>, u64>,
    /// When pending subscriptions time out, in order. May contain subscriptions that are no longer pending.
    deadlines: VecDeque<(Instant, SubscriptionId)>,
    last_number: u64,
    /// Topics subscribed or unsubscribed since the connection last looked; each is in it once, however often it
    /// changes. `None` without a connection: the next one starts with all topics.
    changes: Option<HashSet<Arc<str>>>,
}

#[derive(Debug)]
struct Prefix {
    text: Arc<str>,
    /// The current connection was not allowed to subscribe it, so that its topics are subscribed one by one.
    is_denied: bool,
}

impl DesiredTopics {
    pub(super) fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        let mut state = self.lock();
        if state.topics.contains(topic) {
            return SubscribeOutcome::AlreadySubscribed;
        }
        let topic: Arc<str> = topic.into();
        state.topics.insert(topic.clone());
        state.mark_changed(topic.clone());
        state.last_number += 1;
        let subscription = SubscriptionId { topic: topic.clone(), number: state.last_number };
        state.pending.insert(topic, subscription.number);
        let is_first = state.deadlines.is_empty();
        state.deadlines.push_back((Instant::now() + SUBSCRIBE_TIMEOUT, subscription.clone()));
        drop(state);
        self.changed.notify_one();
        if is_first {
            self.first_deadline.notify_one();
        }
        SubscribeOutcome::Pending(subscription)
    }

    /// Subscribes a topic for good.
    pub(super) fn keep(&self, topic: &str) {
        self.subscribe(topic);
        self.lock().kept.insert(topic.into());
    }

    /// Whether everything published on a topic arrives, on every connection.
    pub(super) fn is_kept(&self, topic: &str) -> bool {
        let state = self.lock();
        state.kept.contains(topic) || state.covering_prefix(topic).is_some()
    }

    pub(super) fn unsubscribe(&self, topic: &str) {
        let mut state = self.lock();
        if state.kept.contains(topic) {
            return;
        }
        if let Some(topic) = state.topics.take(topic) {
            if state.topics.len() < state.topics.capacity() / 8 {
                state.topics.shrink_to_fit();
            }
            state.complete(&topic);
            state.mark_changed(topic);
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn subscribe_prefix(&self, prefix: &str) {
        let text: Arc<str> = prefix.into();
        let mut state = self.lock();
        // Redis delivers a message once for each pattern that matches.
        if state.prefixes.iter().any(|other| prefix.starts_with(&*other.text)) {
            return;
        }
        state.prefixes.push(Prefix { text: text.clone(), is_denied: false });
        state.new_prefixes.push(text);
        drop(state);
        self.changed.notify_one();
    }

    /// The topic as an `Arc`, if it is subscribed. Shared, not copied, if it is subscribed by name.
    pub(super) fn find(&self, topic: &str) -> Option<Arc<str>> {
        let state = self.lock();
        state.topics.get(topic).cloned().or_else(|| state.covering_prefix(topic).map(|_| topic.into()))
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        let state = self.lock();
        state.topics.contains(topic) || state.covering_prefix(topic).is_some()
    }

    /// All commands for a new connection, which receives changes from now on.
    pub(super) fn connect(&self) -> (ConnectionTopics, Vec<TopicCommand>) {
        let mut state = self.lock();
        state.changes = Some(HashSet::new());
        state.new_prefixes.clear();
        for prefix in &mut state.prefixes {
            prefix.is_denied = false;
        }
        let prefixes = state.prefixes.iter().map(|prefix| prefix.text.clone());
        let mut commands: Vec<TopicCommand> = prefixes.map(TopicCommand::SubscribePrefix).collect();
        let topics: Vec<Arc<str>> =
            state.topics.iter().filter(|topic| state.covering_prefix(topic).is_none()).cloned().collect();
        drop(state);
        let mut connection = ConnectionTopics::default();
        commands.extend(topics.into_iter().map(|topic| connection.subscribe(topic)));
        (connection, commands)
    }

    pub(super) fn disconnect(&self) {
        self.lock().changes = None;
    }

    /// The commands for the changes since the last call, and the subscriptions that are complete without a command: a
    /// topic that was unsubscribed and subscribed again in between is still subscribed at Redis.
    pub(super) fn commands(
        &self,
        connection: &mut ConnectionTopics,
    ) -> (Vec<TopicCommand>, Vec<SubscriptionId>) {
        let mut state = self.lock();
        let changes = state.changes.as_mut().map(std::mem::take).unwrap_or_default();
        let new_prefixes = std::mem::take(&mut state.new_prefixes);
        // First, because Redis delivers a message once for each subscription that matches. It runs both commands without others in
        // between.
        let covered = |topic: &&Arc<str>| {
            new_prefixes.iter().any(|prefix| topic.starts_with(&**prefix))
                && connection.state(topic) != TopicState::Unsubscribed
        };
        let covered: Vec<Arc<str>> = state.topics.iter().filter(covered).cloned().collect();
        let mut commands: Vec<_> = covered.into_iter().map(|topic| connection.unsubscribe(topic)).collect();
        commands.extend(new_prefixes.into_iter().map(TopicCommand::SubscribePrefix));
        let mut completed = Vec::new();
        for topic in changes {
            if let Some(prefix) = state.covering_prefix(&topic) {
                if connection.has_prefix(prefix) {
                    completed.extend(state.complete(&topic));
                }
                continue;
            }
            match (state.topics.contains(&topic), connection.state(&topic)) {
                (true, TopicState::Unsubscribed) => commands.push(connection.subscribe(topic)),
                (true, TopicState::Confirmed) => completed.extend(state.complete(&topic)),
                (true, TopicState::Requested) | (false, TopicState::Unsubscribed) => {}
                (false, TopicState::Requested | TopicState::Confirmed) => {
                    commands.push(connection.unsubscribe(topic));
                }
            }
        }
        (commands, completed)
    }

    /// Redis has answered a command. Returns the subscriptions that this completes.
    ///
    /// Must be called by the task that sends the commands: `connection` reflects all that were sent before.
    pub(super) fn on_reply(
        &self,
        command: &TopicCommand,
        connection: &mut ConnectionTopics,
    ) -> Vec<SubscriptionId> {
        match command {
            TopicCommand::Subscribe(topic, number) if connection.confirm(topic, *number) => {
                self.lock().complete(topic).into_iter().collect()
            }
            TopicCommand::Subscribe(..) | TopicCommand::Unsubscribe(_) => Vec::new(),
            TopicCommand::SubscribePrefix(prefix) => {
                connection.confirm_prefix(prefix.clone());
                let mut state = self.lock();
                let topics: Vec<Arc<str>> =
                    state.pending.keys().filter(|topic| topic.starts_with(&**prefix)).cloned().collect();
                topics.iter().filter_map(|topic| state.complete(topic)).collect()
            }
        }
    }

    /// Redis denies subscribing the prefix. Returns the commands that subscribe its topics one by one instead.
    pub(super) fn on_prefix_denied(
        &self,
        prefix: &Arc<str>,
        connection: &mut ConnectionTopics,
    ) -> Vec<TopicCommand> {
        let mut state = self.lock();
        for denied in state.prefixes.iter_mut().filter(|other| other.text == *prefix) {
            denied.is_denied = true;
        }
        let topics = state.topics.iter().filter(|topic| topic.starts_with(&**prefix));
        let unsubscribed: Vec<Arc<str>> =
            topics.filter(|topic| connection.state(topic) == TopicState::Unsubscribed).cloned().collect();
        unsubscribed.into_iter().map(|topic| connection.subscribe(topic)).collect()
    }

    /// Completes the subscriptions that Redis has not confirmed in time. Runs until it is dropped.
    pub(super) async fn expire(&self, inbound: mpsc::UnboundedSender<Inbound>) {
        loop {
            let next = self.lock().deadlines.front().map(|(deadline, _)| *deadline);
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => self.first_deadline.notified().await,
            }
            for subscription in self.take_expired(Instant::now()) {
                tracing::debug!(topic = &*subscription.topic, "subscription not confirmed in time");
                // Fails only while the node shuts down.
                let _ = inbound.send(Inbound::Subscribed(subscription));
            }
        }
    }

    fn take_expired(&self, now: Instant) -> Vec<SubscriptionId> {
        let mut state = self.lock();
        let count = state.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).count();
        let expired: Vec<_> = state.deadlines.drain(..count).collect();
        if state.deadlines.len() < state.deadlines.capacity() / 8 {
            state.deadlines.shrink_to_fit();
        }
        expired
            .into_iter()
            .filter_map(|(_, subscription)| {
                let is_pending = state.pending.get(&subscription.topic) == Some(&subscription.number);
                if is_pending { state.complete(&subscription.topic) } else { None }
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, DesiredState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DesiredState {
    fn mark_changed(&mut self, topic: Arc<str>) {
        if let Some(changes) = &mut self.changes {
            changes.insert(topic);
        }
    }

    /// The subscribed prefix that the topic starts with.
    fn covering_prefix(&self, topic: &str) -> Option<&Arc<str>> {
        let subscribed = self.prefixes.iter().filter(|prefix| !prefix.is_denied);
        subscribed.map(|prefix| &prefix.text).find(|text| topic.starts_with(&***text))
    }

    /// Takes the topic's pending subscription, if there is one.
    fn complete(&mut self, topic: &Arc<str>) -> Option<SubscriptionId> {
        let number = self.pending.remove(topic)?;
        if self.pending.len() < self.pending.capacity() / 8 {
            self.pending.shrink_to_fit();
        }
        Some(SubscriptionId { topic: topic.clone(), number })
    }
}

#[cfg(test)]
mod tests;
