use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::broker::{Inbound, SUBSCRIBE_TIMEOUT, SubscribeOutcome, SubscriptionId};

/// The topics that this node listens to, whatever becomes of the connections.
#[derive(Debug, Default)]
pub(super) struct Topics {
    state: Mutex<State>,
    /// There are changes to take.
    pub(super) changed: Notify,
    /// There is a first deadline where there was none.
    started: Notify,
}

#[derive(Debug, Default)]
struct State {
    topics: HashSet<Arc<str>>,
    beginnings: Vec<Beginning>,
    /// Those that the connection has not seen yet.
    new_beginnings: Vec<Arc<str>>,
    /// Those among them that Redis has still to confirm, with the numbers of their listenings.
    awaited: HashMap<Arc<str>, u64>,
    /// When to give up waiting, in order; also for those that are confirmed or given up by now.
    deadlines: VecDeque<(Instant, SubscriptionId)>,
    number: u64,
    /// What was listened to or not any more since a connection last looked: `None` while there is no connection,
    /// which will begin with all. A topic is in it once, however often it changes.
    changes: Option<HashSet<Arc<str>>>,
}

/// Of topics that are all listened to.
#[derive(Debug)]
struct Beginning {
    text: Arc<str>,
    /// The last connection was not permitted to: its topics are listened to one by one.
    is_refused: bool,
}

/// What a connection has subscribed, so that it only sends what makes a difference. Of what Redis has not confirmed
/// yet: the number of the step, for an older one's answer says nothing.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    topics: HashMap<Arc<str>, Option<NonZeroU64>>,
    /// The beginnings that Redis has confirmed.
    beginnings: Vec<Arc<str>>,
    steps: u64,
}

/// A step from what is subscribed to what is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe(Arc<str>, NonZeroU64),
    Unsubscribe(Arc<str>),
    /// All topics that begin so.
    SubscribeAll(Arc<str>),
}

impl Topics {
    pub(super) fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        let mut state = self.lock();
        if state.topics.contains(topic) {
            return SubscribeOutcome::AlreadySubscribed;
        }
        let topic: Arc<str> = topic.into();
        state.topics.insert(topic.clone());
        state.change(topic.clone());
        state.number += 1;
        let listening = SubscriptionId { topic: topic.clone(), number: state.number };
        state.awaited.insert(topic, listening.number);
        let first = state.deadlines.is_empty();
        state.deadlines.push_back((Instant::now() + SUBSCRIBE_TIMEOUT, listening.clone()));
        drop(state);
        self.changed.notify_one();
        if first {
            self.started.notify_one();
        }
        SubscribeOutcome::Pending(listening)
    }

    pub(super) fn unsubscribe(&self, topic: &str) {
        let mut state = self.lock();
        if let Some(topic) = state.topics.take(topic) {
            if state.topics.len() < state.topics.capacity() / 8 {
                state.topics.shrink_to_fit();
            }
            state.settle(&topic);
            state.change(topic);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Listens to all topics that begin so, for good.
    pub(super) fn subscribe_prefix(&self, beginning: &str) {
        let text: Arc<str> = beginning.into();
        let mut state = self.lock();
        state.beginnings.push(Beginning { text: text.clone(), is_refused: false });
        state.new_beginnings.push(text);
        drop(state);
        self.changed.notify_one();
    }

    /// The text of a topic, if it is listened to; a shared one, if it is by its name.
    pub(super) fn find(&self, topic: &str) -> Option<Arc<str>> {
        let state = self.lock();
        state.topics.get(topic).cloned().or_else(|| state.beginning(topic).map(|_| topic.into()))
    }

    /// Whether a topic is listened to.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        let state = self.lock();
        state.topics.contains(topic) || state.beginning(topic).is_some()
    }

    /// All steps of a new connection, which from now on is told the changes.
    pub(super) fn begin(&self) -> (Subscribed, Vec<Step>) {
        let mut state = self.lock();
        state.changes = Some(HashSet::new());
        state.new_beginnings.clear();
        for beginning in &mut state.beginnings {
            beginning.is_refused = false;
        }
        let mut steps: Vec<Step> =
            state.beginnings.iter().map(|beginning| Step::SubscribeAll(beginning.text.clone())).collect();
        let topics: Vec<Arc<str>> =
            state.topics.iter().filter(|topic| state.beginning(topic).is_none()).cloned().collect();
        drop(state);
        let mut subscribed = Subscribed::default();
        steps.extend(topics.into_iter().map(|topic| subscribed.subscribe(topic)));
        (subscribed, steps)
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        self.lock().changes = None;
    }

    /// The steps that follow from the changes since the last time, and the listenings that need none: what was given up
    /// and listened to again in between is subscribed still.
    pub(super) fn steps(&self, subscribed: &mut Subscribed) -> (Vec<Step>, Vec<SubscriptionId>) {
        let mut state = self.lock();
        let changes = state.changes.as_mut().map(std::mem::take).unwrap_or_default();
        let new = std::mem::take(&mut state.new_beginnings).into_iter();
        let (mut steps, mut confirmed): (Vec<_>, _) = (new.map(Step::SubscribeAll).collect(), Vec::new());
        for topic in changes {
            if let Some(beginning) = state.beginning(&topic) {
                if subscribed.beginnings.contains(beginning) {
                    confirmed.extend(state.settle(&topic));
                }
                continue;
            }
            match (state.topics.contains(&topic), subscribed.topics.get(&topic)) {
                (true, None) => steps.push(subscribed.subscribe(topic)),
                (true, Some(None)) => confirmed.extend(state.settle(&topic)),
                (true, Some(Some(_))) | (false, None) => {}
                (false, Some(_)) => {
                    subscribed.unsubscribe(&topic);
                    steps.push(Step::Unsubscribe(topic));
                }
            }
        }
        (steps, confirmed)
    }

    /// Redis has answered a step. The listenings that this confirms.
    ///
    /// Only the task that sends the steps may call it: what is subscribed now, nobody else can have given up.
    pub(super) fn answered(&self, step: &Step, subscribed: &mut Subscribed) -> Vec<SubscriptionId> {
        match step {
            Step::Subscribe(topic, number) => {
                let asked = subscribed.topics.get_mut(topic);
                let is_latest = asked.and_then(|asked| asked.take_if(|asked| asked == number)).is_some();
                if is_latest { self.lock().settle(topic).into_iter().collect() } else { Vec::new() }
            }
            Step::Unsubscribe(_) => Vec::new(),
            Step::SubscribeAll(beginning) => {
                subscribed.beginnings.push(beginning.clone());
                let mut state = self.lock();
                let topics: Vec<Arc<str>> =
                    state.awaited.keys().filter(|topic| topic.starts_with(&**beginning)).cloned().collect();
                topics.iter().filter_map(|topic| state.settle(topic)).collect()
            }
        }
    }

    /// Redis does not permit to listen to all topics that begin so. The steps that take their place.
    pub(super) fn refused(&self, beginning: &Arc<str>, subscribed: &mut Subscribed) -> Vec<Step> {
        let mut state = self.lock();
        for refused in state.beginnings.iter_mut().filter(|other| other.text == *beginning) {
            refused.is_refused = true;
        }
        let topics = state.topics.iter().filter(|topic| topic.starts_with(&**beginning));
        let new: Vec<Arc<str>> =
            topics.filter(|topic| !subscribed.topics.contains_key(*topic)).cloned().collect();
        new.into_iter().map(|topic| subscribed.subscribe(topic)).collect()
    }

    /// Tells, for ever, what was not confirmed in time.
    pub(super) async fn expire(&self, inbound: mpsc::UnboundedSender<Inbound>) {
        loop {
            let next = self.lock().deadlines.front().map(|(deadline, _)| *deadline);
            match next {
                Some(deadline) => sleep_until(deadline).await,
                None => self.started.notified().await,
            }
            for listening in self.late(Instant::now()) {
                tracing::debug!(topic = &*listening.topic, "not confirmed in time");
                // Without a receiver the node is going down.
                let _ = inbound.send(Inbound::Subscribed(listening));
            }
        }
    }

    fn late(&self, now: Instant) -> Vec<SubscriptionId> {
        let mut state = self.lock();
        let due = state.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).count();
        let due: Vec<_> = state.deadlines.drain(..due).collect();
        if state.deadlines.len() < state.deadlines.capacity() / 8 {
            state.deadlines.shrink_to_fit();
        }
        due.into_iter()
            .map(|(_, listening)| listening)
            .filter(|SubscriptionId { topic, number }| state.awaited.get(topic) == Some(number))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|listening| state.settle(&listening.topic))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, topic: Arc<str>) {
        if let Some(changes) = &mut self.changes {
            changes.insert(topic);
        }
    }

    /// The beginning by which a topic is listened to.
    fn beginning(&self, topic: &str) -> Option<&Arc<str>> {
        let listened = self.beginnings.iter().filter(|beginning| !beginning.is_refused);
        listened.map(|beginning| &beginning.text).find(|text| topic.starts_with(&***text))
    }

    /// The topic's listening, if it was awaited; it is not any more.
    fn settle(&mut self, topic: &Arc<str>) -> Option<SubscriptionId> {
        let number = self.awaited.remove(topic)?;
        if self.awaited.len() < self.awaited.capacity() / 8 {
            self.awaited.shrink_to_fit();
        }
        Some(SubscriptionId { topic: topic.clone(), number })
    }
}

impl Subscribed {
    fn subscribe(&mut self, topic: Arc<str>) -> Step {
        self.steps += 1;
        let number = NonZeroU64::new(self.steps).unwrap_or(NonZeroU64::MIN);
        self.topics.insert(topic.clone(), Some(number));
        Step::Subscribe(topic, number)
    }

    fn unsubscribe(&mut self, topic: &Arc<str>) {
        self.topics.remove(topic);
        if self.topics.len() < self.topics.capacity() / 8 {
            self.topics.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;
