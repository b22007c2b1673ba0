use std::sync::Arc;

use bytes::Bytes;

use super::reply::{Reply, acknowledge};
use crate::broker::{Broker, PublishError};
use crate::channels::Histories;
use crate::hub::{Connection, Outbox};
use crate::message::{ChannelName, Event, Position, Publication, Sender};
use crate::protocol::native::{MessageRef, Native, RejectReason, close};
use crate::telemetry::logged;
use crate::transport::{
    Admitted, ConnectionHandler, ConnectionInfo, DisconnectReason, EndpointContext, Message,
};
use crate::webhooks::{Gates, NativeEventKind, NativeEvents};

/// What all connections of the native protocol share.
#[derive(Debug)]
pub(super) struct NativeService {
    pub(super) context: Arc<EndpointContext>,
    pub(super) native: Arc<Native>,
    pub(super) broker: Arc<Broker>,
    pub(super) histories: Arc<Histories>,
    pub(super) gates: Gates,
    /// If the application wants to be told of anything.
    pub(super) events: Option<Arc<NativeEvents>>,
}

/// The handler of a client, on whatever kind of channel.
pub(super) trait NativeConnection: ConnectionHandler {
    fn native(&self) -> &NativeHandler;
}

impl NativeService {
    /// Publishes a message of a client, and answers it when the broker has.
    pub(super) fn publish(&self, event: Event, reply: Reply) {
        let key = reply.message_ref().map(|found| found.idempotency_key(&event.channel, &event.sender));
        let reported = self.events.as_ref().and_then(|events| {
            events.wants(NativeEventKind::Message, &event.channel).then(|| (events.clone(), event.clone()))
        });
        let mut publication = Publication::from(event);
        publication.idempotency_key = key;
        let receipt = move |published: Result<Option<Position>, PublishError>| {
            if let (Some((events, event)), Ok(position)) = (reported, &published) {
                events.message(&event, *position);
            }
            reply.acknowledge(published.map(drop).map_err(|_| RejectReason::Unavailable));
        };
        self.broker.publish(publication, Box::new(receipt));
    }
}

/// One client of the native protocol: publishes its messages and replies to them.
#[derive(Debug)]
pub(super) struct NativeHandler {
    /// Dropped before `admitted`, so that a place is free only after its connection has left its channel.
    connection: Connection,
    service: Arc<NativeService>,
    sender: Sender,
    /// `None`: over capacity, and only waiting to be closed.
    admitted: Option<Admitted>,
}

impl NativeHandler {
    pub(super) fn new(
        service: Arc<NativeService>,
        connection: Connection,
        sender: Sender,
        admitted: Option<Admitted>,
    ) -> Self {
        Self { connection, service, sender, admitted }
    }

    /// Reads a message. Only channels with a history know a `ref`.
    pub(super) fn receive(&self, message: &Bytes) -> (Option<MessageRef>, Result<Event, RejectReason>) {
        let NativeService { native, histories, .. } = &*self.service;
        let Some(channel) = self.channel() else { return (None, Err(RejectReason::Internal)) };
        if histories.is_on() && histories.retention(channel).is_some() {
            native.receive_with_ref(channel, &self.sender, message)
        } else {
            (None, native.receive(channel, &self.sender, message))
        }
    }

    /// What answers a message of this many bytes.
    pub(super) fn reply(&self, message_ref: Option<MessageRef>, bytes: usize) -> Reply {
        let metrics = self.service.context.metrics.clone();
        Reply::new(self.outbox().clone(), self.connection.outbox_bytes(), message_ref, bytes, metrics)
    }

    pub(super) fn service(&self) -> &Arc<NativeService> {
        &self.service
    }

    fn channel(&self) -> Option<&ChannelName> {
        self.connection.channels().first()
    }
}

impl NativeConnection for NativeHandler {
    fn native(&self) -> &NativeHandler {
        self
    }
}

impl ConnectionHandler for NativeHandler {
    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    fn on_message(&mut self, message: Message) {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let (message_ref, event) = self.receive(&message);
        match event {
            Ok(event) => self.service.publish(event, self.reply(message_ref, message.len())),
            Err(reason) => {
                let (metrics, limit) = (&self.service.context.metrics, self.connection.outbox_bytes());
                acknowledge(Err(reason), message_ref.as_ref(), self.outbox(), limit, metrics);
            }
        }
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
        if let (Some(events), Some(channel), true) =
            (&self.service.events, self.channel(), self.admitted.is_some())
        {
            events.disconnected(self.connection.id(), channel, &self.sender, reason.label(), reason.code());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        assert!(size_of::<NativeHandler>() <= 104);
    }
}
