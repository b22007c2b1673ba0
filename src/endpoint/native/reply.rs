use std::sync::Arc;

use crate::hub::Outbox;
use crate::protocol::native::{Acknowledgement, MessageRef, REFUSED, encode_acknowledgement, encode_refused};
use crate::telemetry::{Metrics, Reason};

/// The answer that a client's message waits for.
pub(super) trait Answer: Send + 'static {
    fn message_ref(&self) -> Option<&MessageRef>;
    fn acknowledge(self, acknowledgement: Acknowledgement);
    /// The application has refused the message.
    fn refuse(self, message: &str);
}

/// An answer on the connection of the message.
#[derive(Debug)]
pub(super) struct Reply {
    outbox: Arc<Outbox>,
    limit: usize,
    message_ref: Option<MessageRef>,
    bytes: usize,
    metrics: Arc<Metrics>,
}

impl Reply {
    /// From now on, a message of this many bytes is unanswered. `limit`: see [`Outbox::push`].
    pub(super) fn new(
        outbox: Arc<Outbox>,
        limit: usize,
        message_ref: Option<MessageRef>,
        bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        outbox.asked(bytes);
        Self { outbox, limit, message_ref, bytes, metrics }
    }
}

impl Answer for Reply {
    fn message_ref(&self) -> Option<&MessageRef> {
        self.message_ref.as_ref()
    }

    fn acknowledge(self, acknowledgement: Acknowledgement) {
        self.outbox.answered(self.bytes);
        acknowledge(acknowledgement, self.message_ref(), &self.outbox, self.limit, &self.metrics);
    }

    fn refuse(self, message: &str) {
        self.outbox.answered(self.bytes);
        count_refused(&self.metrics);
        self.outbox.push(&encode_refused(message, self.message_ref()), self.limit);
    }
}

/// Answers a message on its connection, and counts it.
pub(super) fn acknowledge(
    acknowledgement: Acknowledgement,
    message_ref: Option<&MessageRef>,
    outbox: &Outbox,
    limit: usize,
    metrics: &Metrics,
) {
    count(acknowledgement, metrics);
    outbox.push(&encode_acknowledgement(acknowledgement, message_ref), limit);
}

pub(super) fn count(acknowledgement: Acknowledgement, metrics: &Metrics) {
    match acknowledgement {
        Ok(()) => {
            metrics.messages_accepted.inc();
        }
        Err(reason) => {
            metrics.messages_refused.get_or_create(&Reason::new(reason.code())).inc();
        }
    }
}

pub(super) fn count_refused(metrics: &Metrics) {
    metrics.messages_refused.get_or_create(&Reason::new(REFUSED)).inc();
}
