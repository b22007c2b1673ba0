use redis::cmd;

use super::link::Link;
use super::listening::{Listening, Step, Subscribed};
use super::names::Names;

/// So many SUBSCRIBE and UNSUBSCRIBE may await their answers: more would fill buffers on both sides.
const WINDOW: usize = 1024;

/// One connection's way from what it has subscribed to what is listened to. Ends with the connection.
pub(super) struct Subscription {
    subscribed: Subscribed,
    /// Steps that were not sent yet.
    steps: std::vec::IntoIter<Step>,
    /// How many that were sent have no answer yet.
    unanswered: usize,
    ready: bool,
}

impl Subscription {
    pub(super) fn begin(listening: &Listening) -> Self {
        let (subscribed, steps) = listening.begin();
        Self { subscribed, steps: steps.into_iter(), unanswered: 0, ready: false }
    }

    /// Whether it has just become ready: all that was listened to when the connection began is subscribed.
    pub(super) fn becomes_ready(&mut self) -> bool {
        let ready = self.steps.len() == 0 && self.unanswered == 0;
        ready && !std::mem::replace(&mut self.ready, true)
    }

    /// Whether it can look for changes. Until it is ready, and until all steps are sent, there is enough to do.
    pub(super) fn is_idle(&self) -> bool {
        self.ready && self.steps.len() == 0
    }

    /// Looks what has changed.
    pub(super) fn look(&mut self, listening: &Listening) {
        self.steps = listening.steps(&mut self.subscribed).into_iter();
    }

    /// Writes the next steps, as far as there is room. Says whether there is something to flush.
    pub(super) fn write(&mut self, link: &mut Link, names: &Names) -> bool {
        // Not for each answer a small write.
        if self.steps.len() == 0 || self.unanswered > WINDOW / 2 {
            return false;
        }
        for step in self.steps.by_ref().take(WINDOW - self.unanswered) {
            let (name, topic) = match &step {
                Step::Subscribe(topic) => ("SUBSCRIBE", topic),
                Step::Unsubscribe(topic) => ("UNSUBSCRIBE", topic),
            };
            // One topic a command: one that is not permitted takes no other along.
            link.write(cmd(name).arg(names.of(topic)));
            self.unanswered += 1;
        }
        true
    }

    /// An answer arrived, or a refusal.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }
}
