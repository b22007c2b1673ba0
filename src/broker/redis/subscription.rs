use std::collections::VecDeque;

use redis::{ServerError, cmd};

use super::link::{Link, words};
use super::names::Names;
use super::topics::{Step, Subscribed, Topics};
use crate::broker::SubscriptionId;

/// So many SUBSCRIBE and UNSUBSCRIBE may await their answers: more would fill buffers on both sides.
const WINDOW: usize = 1024;

/// One connection's way from what it has subscribed to what is listened to. Ends with the connection.
pub(super) struct Subscription {
    subscribed: Subscribed,
    /// Steps that were not sent yet.
    steps: VecDeque<Step>,
    /// Those that were sent and have no answer yet, for answers come in their order. `None` is a PING.
    unanswered: VecDeque<Option<Step>>,
    ready: bool,
    /// The log has a line about a topic that is denied: the others are as a rule denied for the same reason.
    has_told: bool,
}

impl Subscription {
    pub(super) fn begin(topics: &Topics) -> Self {
        let (subscribed, steps) = topics.begin();
        Self { subscribed, steps: steps.into(), unanswered: VecDeque::new(), ready: false, has_told: false }
    }

    /// Whether it has just become ready: all that was listened to when the connection began is subscribed.
    pub(super) fn becomes_ready(&mut self) -> bool {
        let ready = self.steps.is_empty() && self.unanswered.is_empty();
        ready && !std::mem::replace(&mut self.ready, true)
    }

    /// Whether all that was listened to when the connection began is subscribed, as far as has been asked.
    pub(super) const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether it can look for changes. Until it is ready, and until all steps are sent, there is enough to do.
    pub(super) fn is_idle(&self) -> bool {
        self.ready && self.steps.is_empty()
    }

    /// Looks what has changed. The listenings that this confirms.
    pub(super) fn look(&mut self, topics: &Topics) -> Vec<SubscriptionId> {
        let (steps, confirmed) = topics.steps(&mut self.subscribed);
        self.steps = steps.into();
        confirmed
    }

    /// Writes the next steps, as far as there is room. Says whether there is something to flush.
    pub(super) fn write(&mut self, link: &mut Link, names: &Names) -> bool {
        // Not for each answer a small write.
        if self.steps.is_empty() || self.unanswered.len() > WINDOW / 2 {
            return false;
        }
        while self.unanswered.len() < WINDOW
            && let Some(step) = self.steps.pop_front()
        {
            // One topic a command: one that is not permitted takes no other along.
            link.write(&match &step {
                Step::Subscribe(topic, _) => cmd("SUBSCRIBE").arg(names.of(topic)).take(),
                Step::Unsubscribe(topic) => cmd("UNSUBSCRIBE").arg(names.of(topic)).take(),
                Step::SubscribeAll(beginning) => cmd("PSUBSCRIBE").arg(names.all(beginning)).take(),
            });
            self.unanswered.push_back(Some(step));
        }
        true
    }

    /// An answer arrived. The listenings that it confirms.
    pub(super) fn answered(&mut self, topics: &Topics) -> Vec<SubscriptionId> {
        match self.unanswered.pop_front() {
            Some(Some(step)) => topics.answered(&step, &mut self.subscribed),
            _ => Vec::new(),
        }
    }

    /// Instead of an answer a refusal arrived. The listenings that cannot be confirmed.
    pub(super) fn refused(&mut self, topics: &Topics, error: &ServerError) -> Vec<SubscriptionId> {
        let words = words(error);
        match self.unanswered.pop_front() {
            Some(Some(Step::SubscribeAll(beginning))) => {
                tracing::warn!(
                    topic = format!("{beginning}*"),
                    reason = words,
                    hint = "cache channels keep what Laravel's redis broadcaster publishes only while they have a \
                            subscriber; grant +psubscribe and this pattern",
                    "PSUBSCRIBE denied by Redis"
                );
                self.steps.extend(topics.refused(&beginning, &mut self.subscribed));
                Vec::new()
            }
            // It is not worth waiting for.
            Some(Some(step)) => {
                if let Step::Subscribe(topic, _) = &step
                    && !std::mem::replace(&mut self.has_told, true)
                {
                    tracing::warn!(
                        topic = &**topic,
                        reason = words,
                        hint = "nothing that is published on this topic arrives; grant +subscribe +unsubscribe and the \
                                topics under redis.prefix",
                        "SUBSCRIBE denied by Redis"
                    );
                }
                topics.answered(&step, &mut self.subscribed)
            }
            // Without PING any other answer is a sign of life, and the refusal is one, too.
            Some(None) | None => Vec::new(),
        }
    }

    /// Whether the next answer is to something that can be done without.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.unanswered.front(), Some(Some(Step::SubscribeAll(_))))
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
