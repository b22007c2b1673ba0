use std::collections::VecDeque;

use redis::cmd;

use super::link::Link;
use super::names::Names;
use super::topics::{Step, Subscribed, Topics};
use crate::broker::Listening;

/// So many SUBSCRIBE and UNSUBSCRIBE may await their answers: more would fill buffers on both sides.
const WINDOW: usize = 1024;

/// One connection's way from what it has subscribed to what is listened to. Ends with the connection.
pub(super) struct Subscription {
    subscribed: Subscribed,
    /// Steps that were not sent yet.
    steps: std::vec::IntoIter<Step>,
    /// Those that were sent and have no answer yet, for answers come in their order. `None` is a PING.
    unanswered: VecDeque<Option<Step>>,
    ready: bool,
}

impl Subscription {
    pub(super) fn begin(topics: &Topics) -> Self {
        let (subscribed, steps) = topics.begin();
        Self { subscribed, steps: steps.into_iter(), unanswered: VecDeque::new(), ready: false }
    }

    /// Whether it has just become ready: all that was listened to when the connection began is subscribed.
    pub(super) fn becomes_ready(&mut self) -> bool {
        let ready = self.steps.len() == 0 && self.unanswered.is_empty();
        ready && !std::mem::replace(&mut self.ready, true)
    }

    /// Whether it can look for changes. Until it is ready, and until all steps are sent, there is enough to do.
    pub(super) fn is_idle(&self) -> bool {
        self.ready && self.steps.len() == 0
    }

    /// Looks what has changed. The listenings that this confirms.
    pub(super) fn look(&mut self, topics: &Topics) -> Vec<Listening> {
        let (steps, confirmed) = topics.steps(&mut self.subscribed);
        self.steps = steps.into_iter();
        confirmed
    }

    /// Writes the next steps, as far as there is room. Says whether there is something to flush.
    pub(super) fn write(&mut self, link: &mut Link, names: &Names) -> bool {
        // Not for each answer a small write.
        if self.steps.len() == 0 || self.unanswered.len() > WINDOW / 2 {
            return false;
        }
        for step in self.steps.by_ref().take(WINDOW - self.unanswered.len()) {
            let (name, topic) = match &step {
                Step::Subscribe(topic, _) => ("SUBSCRIBE", topic),
                Step::Unsubscribe(topic) => ("UNSUBSCRIBE", topic),
            };
            // One topic a command: one that is not permitted takes no other along.
            link.write(cmd(name).arg(names.of(topic)));
            self.unanswered.push_back(Some(step));
        }
        true
    }

    /// An answer arrived, or a refusal. The listening that it confirms.
    pub(super) fn answered(&mut self, topics: &Topics) -> Option<Listening> {
        let step = self.unanswered.pop_front()??;
        topics.answered(&step, &mut self.subscribed)
    }

    /// A PING was written.
    pub(super) fn pinged(&mut self) {
        self.unanswered.push_back(None);
    }

    /// The answer to a PING arrived.
    pub(super) fn ponged(&mut self) {
        if let Some(None) = self.unanswered.front() {
            self.unanswered.pop_front();
        }
    }
}
