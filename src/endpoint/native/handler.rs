use std::sync::Arc;

use bytes::Bytes;

use super::renewal::renew;
use super::service::NativeService;
use crate::broker::PublishError;
use crate::hub::{Connection, Outbox};
use crate::message::{ChannelName, Event, Position, Publication, Sender};
use crate::protocol::native::{
    Acknowledgement, MessageRef, RejectReason, RenewalRequest, close, encode_acknowledgement,
};
use crate::telemetry::{Metrics, Reason, logged};
use crate::transport::{Admitted, ConnectionHandler, ConnectionInfo, DisconnectReason, Message};

/// One client of the native protocol: publishes its messages and replies to them.
#[derive(Debug)]
pub(super) struct NativeHandler {
    /// Dropped before `admitted`, so that a place is free only after its connection has left its channel.
    connection: Connection,
    service: Arc<NativeService>,
    sender: Sender,
    /// `None`: over capacity, and only waiting to be closed.
    _admitted: Option<Admitted>,
}

impl NativeHandler {
    pub(super) fn new(
        service: Arc<NativeService>,
        connection: Connection,
        sender: Sender,
        admitted: Option<Admitted>,
    ) -> Self {
        Self { connection, service, sender, _admitted: admitted }
    }

    /// Reads a message. Only channels with a history know a `ref`.
    fn receive(&self, message: &Bytes) -> (Option<MessageRef>, Result<Event, RejectReason>) {
        let NativeService { native, histories, .. } = &*self.service;
        let Some(channel) = self.channel() else { return (None, Err(RejectReason::Internal)) };
        if histories.is_on() && histories.retention(channel).is_some() {
            native.receive_with_ref(channel, &self.sender, message)
        } else {
            (None, native.receive(channel, &self.sender, message))
        }
    }

    fn publish(&self, event: Event, message_ref: Option<MessageRef>, bytes: usize) {
        let (outbox, limit) = (self.outbox().clone(), self.connection.outbox_bytes());
        let metrics = self.service.context.metrics.clone();
        outbox.asked(bytes);
        let mut publication = Publication::from(event);
        if let (Some(message_ref), Some(channel)) = (&message_ref, self.channel()) {
            publication.idempotency_key = Some(message_ref.idempotency_key(channel, &self.sender));
        }
        let receipt = move |published: Result<Option<Position>, PublishError>| {
            outbox.answered(bytes);
            let acknowledgement = published.map(drop).map_err(|_| RejectReason::Unavailable);
            reply(acknowledgement, message_ref.as_ref(), &outbox, limit, &metrics);
        };
        self.service.broker.publish(publication, Box::new(receipt));
    }

    fn channel(&self) -> Option<&ChannelName> {
        self.connection.channels().first()
    }
}

impl ConnectionHandler for NativeHandler {
    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    fn on_message(&mut self, message: Message) -> Option<u64> {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let (message_ref, event) = self.receive(&message);
        match event {
            Ok(event) => self.publish(event, message_ref, message.len()),
            Err(reason) => {
                if reason == RejectReason::InvalidMessage
                    && let Some(request) = RenewalRequest::decode(&message)
                {
                    return renew(&self.service, &self.connection, &mut self.sender, &request);
                }
                let (metrics, limit) = (&self.service.context.metrics, self.connection.outbox_bytes());
                reply(Err(reason), message_ref.as_ref(), self.outbox(), limit, metrics);
            }
        }
        None
    }

    fn answer_inquiries(&self) {
        self.service.context.inquiries.answer(self.connection.id(), || ConnectionInfo {
            protocol: "native",
            name: None,
            app: None,
            user: Some(self.sender.id.clone()),
            user_name: Some(self.sender.name.clone()),
            channels: self.connection.channels().to_vec(),
            queued_bytes: self.outbox().queued_bytes(),
        });
    }

    fn on_throttled(&self) {
        self.service.context.on_throttled();
        tracing::info!(
            connection = self.connection.id(),
            user = logged(self.sender.id.form()),
            channel = self.channel().map(ChannelName::as_str),
            "throttled: the client sends more than limits.messages_per_second"
        );
    }

    fn on_disconnect(&self, reason: DisconnectReason) {
        // Also if the upgrade was never completed: a replay may be waiting for its turn.
        self.outbox().end();
        self.service.context.on_disconnected(reason);
        let (connection, channel) = (self.connection.id(), self.channel().map(ChannelName::as_str));
        if reason == DisconnectReason::Server(&close::CLOSES.slow_consumer) {
            tracing::warn!(
                connection,
                user = logged(self.sender.id.form()),
                channel,
                limit = self.connection.outbox_bytes(),
                "slow consumer: queued messages dropped"
            );
        }
        tracing::info!(
            connection,
            user = logged(self.sender.id.form()),
            channel,
            reason = reason.label(),
            code = reason.code(),
            "disconnected"
        );
    }
}

fn reply(
    acknowledgement: Acknowledgement,
    message_ref: Option<&MessageRef>,
    outbox: &Outbox,
    limit: usize,
    metrics: &Metrics,
) {
    match acknowledgement {
        Ok(()) => {
            metrics.messages_accepted.inc();
        }
        Err(reason) => {
            metrics.messages_refused.get_or_create(&Reason::new(reason.code())).inc();
        }
    }
    outbox.push(&encode_acknowledgement(acknowledgement, message_ref), limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        assert!(size_of::<NativeHandler>() <= 104);
    }
}
