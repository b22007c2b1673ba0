use std::borrow::Cow;
use std::sync::Arc;

use crate::hub::{ConnectionId, Outbox};
use crate::protocol::native::{Acknowledgement, MessageRef, REFUSED, encode_acknowledgement, encode_refused};
use crate::telemetry::{Metrics, Reason, TailEvent, TailKind};

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
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    limit: usize,
    message_ref: Option<MessageRef>,
    bytes: usize,
    metrics: Arc<Metrics>,
}

impl Reply {
    /// From now on, a message of this many bytes is unanswered. `limit`: see [`Outbox::push`].
    pub(super) fn new(
        connection: ConnectionId,
        outbox: Arc<Outbox>,
        limit: usize,
        message_ref: Option<MessageRef>,
        bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        outbox.asked(bytes);
        Self { connection, outbox, limit, message_ref, bytes, metrics }
    }
}

impl Answer for Reply {
    fn message_ref(&self) -> Option<&MessageRef> {
        self.message_ref.as_ref()
    }

    fn acknowledge(self, acknowledgement: Acknowledgement) {
        self.outbox.answered(self.bytes);
        if let Err(reason) = acknowledgement {
            self.tell_refused(|| reason.code().into());
        }
        acknowledge(acknowledgement, self.message_ref(), &self.outbox, self.limit, &self.metrics);
    }

    fn refuse(self, message: &str) {
        self.outbox.answered(self.bytes);
        count_refused(&self.metrics);
        self.tell_refused(|| format!("{REFUSED}: {message}").into());
        self.outbox.push(&encode_refused(message, self.message_ref()), self.limit);
    }
}

impl Reply {
    /// Tells operators who watch. What the message was about, the connection says.
    fn tell_refused(&self, reason: impl FnOnce() -> Cow<'static, str>) {
        self.metrics.tail.tell(|| TailEvent {
            kind: TailKind::Refused,
            protocol: "native",
            connection: Some(self.connection),
            reason: Some(reason()),
            ..TailEvent::default()
        });
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
