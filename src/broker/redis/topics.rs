use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::broker::{CONFIRM_WITHIN, Inbound, Listen, Listening};

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
    /// Those among them that Redis has still to confirm, with the numbers of their listenings.
    awaited: HashMap<Arc<str>, u64>,
    /// When to give up waiting, in order; also for those that are confirmed or given up by now.
    deadlines: VecDeque<(Instant, Listening)>,
    number: u64,
    /// What was listened to or not any more since a connection last looked: `None` while there is no connection,
    /// which will begin with all. A topic is in it once, however often it changes.
    changes: Option<HashSet<Arc<str>>>,
}

/// What a connection has subscribed, so that it only sends what makes a difference. Of what Redis has not confirmed
/// yet: the number of the step, for an older one's answer says nothing.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    topics: HashMap<Arc<str>, Option<NonZeroU64>>,
    steps: u64,
}

/// A step from what is subscribed to what is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe(Arc<str>, NonZeroU64),
    Unsubscribe(Arc<str>),
}

impl Topics {
    pub(super) fn listen(&self, topic: &str) -> Listen {
        let mut state = self.lock();
        if state.topics.contains(topic) {
            return Listen::Before;
        }
        let topic: Arc<str> = topic.into();
        state.topics.insert(topic.clone());
        state.change(topic.clone());
        state.number += 1;
        let listening = Listening { topic: topic.clone(), number: state.number };
        state.awaited.insert(topic, listening.number);
        let first = state.deadlines.is_empty();
        state.deadlines.push_back((Instant::now() + CONFIRM_WITHIN, listening.clone()));
        drop(state);
        self.changed.notify_one();
        if first {
            self.started.notify_one();
        }
        Listen::Awaited(listening)
    }

    pub(super) fn unlisten(&self, topic: &str) {
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

    /// The shared text of a topic, if it is listened to.
    pub(super) fn find(&self, topic: &str) -> Option<Arc<str>> {
        self.lock().topics.get(topic).cloned()
    }

    /// All steps of a new connection, which from now on is told the changes.
    pub(super) fn begin(&self) -> (Subscribed, Vec<Step>) {
        let mut state = self.lock();
        state.changes = Some(HashSet::new());
        let topics = state.topics.clone();
        drop(state);
        let mut subscribed = Subscribed::default();
        let steps = topics.into_iter().map(|topic| subscribed.subscribe(topic)).collect();
        (subscribed, steps)
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        self.lock().changes = None;
    }

    /// The steps that follow from the changes since the last time, and the listenings that need none: what was given up
    /// and listened to again in between is subscribed still.
    pub(super) fn steps(&self, subscribed: &mut Subscribed) -> (Vec<Step>, Vec<Listening>) {
        let mut state = self.lock();
        let changes = state.changes.as_mut().map(std::mem::take).unwrap_or_default();
        let (mut steps, mut confirmed) = (Vec::new(), Vec::new());
        for topic in changes {
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

    /// Redis has answered a step, or refused it: then nothing can be waited for. The listening that this confirms.
    ///
    /// Only the task that sends the steps may call it: what is subscribed now, nobody else can have given up.
    pub(super) fn answered(&self, step: &Step, subscribed: &mut Subscribed) -> Option<Listening> {
        let Step::Subscribe(topic, number) = step else { return None };
        subscribed.topics.get_mut(topic)?.take_if(|asked| asked == number)?;
        self.lock().settle(topic)
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
                let _ = inbound.send(Inbound::Listening(listening));
            }
        }
    }

    fn late(&self, now: Instant) -> Vec<Listening> {
        let mut state = self.lock();
        let due = state.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).count();
        let due: Vec<_> = state.deadlines.drain(..due).collect();
        if state.deadlines.len() < state.deadlines.capacity() / 8 {
            state.deadlines.shrink_to_fit();
        }
        due.into_iter()
            .map(|(_, listening)| listening)
            .filter(|Listening { topic, number }| state.awaited.get(topic) == Some(number))
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

    /// The topic's listening, if it was awaited; it is not any more.
    fn settle(&mut self, topic: &Arc<str>) -> Option<Listening> {
        let number = self.awaited.remove(topic)?;
        if self.awaited.len() < self.awaited.capacity() / 8 {
            self.awaited.shrink_to_fit();
        }
        Some(Listening { topic: topic.clone(), number })
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
mod tests {
    use std::time::Duration;

    use super::*;

    fn awaited(listen: Listen) -> Listening {
        match listen {
            Listen::Awaited(listening) => listening,
            other => panic!("{other:?}"),
        }
    }

    fn names(steps: &[Step]) -> Vec<String> {
        let mut names: Vec<String> = steps
            .iter()
            .map(|step| match step {
                Step::Subscribe(topic, _) => format!("+{topic}"),
                Step::Unsubscribe(topic) => format!("-{topic}"),
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_makes_a_difference_is_sent() {
        let topics = Topics::default();
        for topic in ["a", "b", "c"] {
            awaited(topics.listen(topic));
        }
        assert_eq!(topics.listen("b"), Listen::Before);
        topics.unlisten("c");
        topics.unlisten("never");
        let (mut subscribed, steps) = topics.begin();
        assert_eq!(names(&steps), ["+a", "+b"]);
        assert_eq!(topics.steps(&mut subscribed).0, []);

        topics.unlisten("a");
        let _ = topics.listen("a");
        let _ = topics.listen("d");
        topics.unlisten("d");
        assert_eq!(topics.steps(&mut subscribed), (vec![], vec![]));
        let _ = topics.listen("d");
        assert_eq!(names(&topics.steps(&mut subscribed).0), ["+d"]);
        topics.unlisten("d");
        assert_eq!(names(&topics.steps(&mut subscribed).0), ["-d"]);
        assert!(topics.find("d").is_none() && topics.find("a").is_some());
    }

    #[test]
    fn a_listening_is_confirmed_once_and_by_the_answer_to_its_own_step() {
        let topics = Topics::default();
        let (mut subscribed, _) = topics.begin();
        let mut look = || {
            let (mut steps, confirmed) = topics.steps(&mut subscribed);
            (steps.pop(), confirmed, std::mem::take(&mut subscribed))
        };
        let first = awaited(topics.listen("a"));
        let (step, _, seen) = look();
        subscribed = seen;
        let step = step.unwrap();
        assert_eq!(topics.answered(&step, &mut subscribed), Some(first));
        assert_eq!(topics.answered(&step, &mut subscribed), None);

        // Subscribed all the time, so that there is nothing to wait for.
        topics.unlisten("a");
        let again = awaited(topics.listen("a"));
        assert_eq!(topics.steps(&mut subscribed), (vec![], vec![again]));

        // The answer to an older step comes when the topic is not subscribed any more.
        topics.unlisten("a");
        let _ = topics.steps(&mut subscribed);
        let _ = topics.listen("a");
        let old = topics.steps(&mut subscribed).0.pop().unwrap();
        topics.unlisten("a");
        let _ = topics.steps(&mut subscribed);
        let late = awaited(topics.listen("a"));
        assert_eq!(topics.answered(&old, &mut subscribed), None);
        let new = topics.steps(&mut subscribed).0.pop().unwrap();
        assert_eq!(topics.answered(&old, &mut subscribed), None);
        assert_eq!(topics.answered(&new, &mut subscribed), Some(late));
    }

    #[test]
    fn what_is_not_confirmed_in_time_is_told_once() {
        let topics = Topics::default();
        let (mut subscribed, _) = topics.begin();
        let _ = topics.listen("given up");
        topics.unlisten("given up");
        let listening = awaited(topics.listen("a"));
        let after = Instant::now() + CONFIRM_WITHIN + Duration::from_millis(1);
        assert!(topics.late(Instant::now()).is_empty());
        assert_eq!(topics.late(after), [listening]);
        let step = topics.steps(&mut subscribed).0.pop().unwrap();
        assert_eq!(topics.answered(&step, &mut subscribed), None);
        assert!(topics.late(after).is_empty());
    }

    #[test]
    fn without_a_connection_churn_leaves_nothing() {
        let topics = Topics::default();
        let _ = topics.begin();
        topics.end();
        for number in 0..10_000 {
            let _ = topics.listen(&number.to_string());
        }
        for number in 0..10_000 {
            topics.unlisten(&number.to_string());
        }
        let after = Instant::now() + CONFIRM_WITHIN;
        assert!(topics.late(after).is_empty());
        let state = topics.lock();
        assert!(state.changes.is_none());
        assert!(state.topics.capacity() < 100 && state.awaited.capacity() < 100);
        assert!(state.deadlines.capacity() < 100);
        drop(state);
        assert_eq!(topics.begin().1, []);
    }
}
