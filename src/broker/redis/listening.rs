use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The topics that this node listens to, whatever becomes of the connections.
#[derive(Debug, Default)]
pub(super) struct Listening {
    state: Mutex<State>,
    /// There are changes to take.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    topics: HashSet<Arc<str>>,
    /// What was listened to or not any more since a connection last looked: `None` while there is no connection,
    /// which will begin with all. A topic is in it once, however often it changes.
    changes: Option<HashSet<Arc<str>>>,
}

/// What a connection has subscribed, so that it only sends what makes a difference.
#[derive(Debug, Default)]
pub(super) struct Subscribed(HashSet<Arc<str>>);

/// A step from what is subscribed to what is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

impl Listening {
    pub(super) fn listen(&self, topic: &str) {
        let mut state = self.lock();
        if !state.topics.contains(topic) {
            let topic: Arc<str> = topic.into();
            state.topics.insert(topic.clone());
            state.change(topic);
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn unlisten(&self, topic: &str) {
        let mut state = self.lock();
        if let Some(topic) = state.topics.take(topic) {
            if state.topics.len() < state.topics.capacity() / 8 {
                state.topics.shrink_to_fit();
            }
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
        let steps = topics.iter().cloned().map(Step::Subscribe).collect();
        (Subscribed(topics), steps)
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        self.lock().changes = None;
    }

    /// The steps that follow from the changes since the last time.
    pub(super) fn steps(&self, subscribed: &mut Subscribed) -> Vec<Step> {
        let mut state = self.lock();
        let changes = state.changes.as_mut().map(std::mem::take).unwrap_or_default();
        let step = |topic: Arc<str>| {
            if state.topics.contains(&topic) {
                subscribed.0.insert(topic.clone()).then_some(Step::Subscribe(topic))
            } else {
                subscribed.0.remove(&topic).then_some(Step::Unsubscribe(topic))
            }
        };
        changes.into_iter().filter_map(step).collect()
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_difference_is_sent() {
        let listening = Listening::default();
        for topic in ["a", "b", "b", "c"] {
            listening.listen(topic);
        }
        listening.unlisten("c");
        listening.unlisten("never");
        let (mut subscribed, mut steps) = listening.begin();
        steps.sort_by_key(|step| format!("{step:?}"));
        assert_eq!(steps, [Step::Subscribe("a".into()), Step::Subscribe("b".into())]);
        assert_eq!(listening.steps(&mut subscribed), []);

        listening.unlisten("a");
        listening.listen("a");
        listening.listen("d");
        listening.unlisten("d");
        assert_eq!(listening.steps(&mut subscribed), []);
        listening.listen("d");
        assert_eq!(listening.steps(&mut subscribed), [Step::Subscribe("d".into())]);
        listening.unlisten("d");
        assert_eq!(listening.steps(&mut subscribed), [Step::Unsubscribe("d".into())]);
        assert!(listening.find("d").is_none() && listening.find("a").is_some());
    }

    #[test]
    fn without_a_connection_churn_leaves_nothing() {
        let listening = Listening::default();
        let _ = listening.begin();
        listening.end();
        for number in 0..10_000 {
            listening.listen(&number.to_string());
        }
        for number in 0..10_000 {
            listening.unlisten(&number.to_string());
        }
        assert!(listening.lock().changes.is_none());
        assert!(listening.lock().topics.capacity() < 100);
        assert_eq!(listening.begin().1, []);
    }
}
