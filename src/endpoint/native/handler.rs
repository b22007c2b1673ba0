use std::sync::Arc;

use bytes::Bytes;

use super::renewal::{accept, renew};
use super::reply::{Reply, acknowledge};
use super::service::NativeService;
use super::tail::tail_event;
use crate::hub::{Connection, ConnectionId, Outbox};
use crate::message::{ChannelName, Event, Renewal, Sender};
use crate::protocol::native::{MessageRef, RejectReason, RenewalRequest, close};
use crate::telemetry::{TailEvent, TailKind, logged};
use crate::transport::{Admitted, ConnectionHandler, ConnectionInfo, DisconnectReason, Message};

/// What a client has sent.
enum Received<'a> {
    /// A message, or why it is refused, and its `ref`.
    Message(Option<MessageRef>, Result<Event, RejectReason>),
    Renewal(RenewalRequest<'a>),
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

    fn receive<'a>(&self, message: &'a Bytes) -> Received<'a> {
        let Some(channel) = self.channel() else {
            return Received::Message(None, Err(RejectReason::Internal));
        };
        let (message_ref, event) = self.service.receive(channel, &self.sender, message);
        if matches!(event, Err(RejectReason::InvalidMessage))
            && let Some(request) = RenewalRequest::decode(message)
        {
            return Received::Renewal(request);
        }
        Received::Message(message_ref, event)
    }

    /// Goes on with a new token: see [`renew`].
    fn renew(&mut self, request: &RenewalRequest<'_>) -> Option<u64> {
        renew(&self.service, &self.connection, &mut self.sender, request)
    }

    /// What answers a message of this many bytes.
    fn reply(&self, message_ref: Option<MessageRef>, bytes: usize) -> Reply {
        let metrics = self.service.context.metrics.clone();
        let limit = self.connection.outbox_bytes();
        Reply::new(self.connection.id(), self.outbox().clone(), limit, message_ref, bytes, metrics)
    }

    /// Tells operators who watch.
    fn tell(&self, kind: TailKind, reason: Option<&'static str>, code: Option<u16>) {
        self.service.context.metrics.tail.tell(|| TailEvent {
            reason: reason.map(Into::into),
            code,
            ..tail_event(kind, self.connection.id(), &self.sender.id, self.channel())
        });
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.connection.id()
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
        let (message_ref, event) = match self.receive(&message) {
            Received::Renewal(request) => return self.renew(&request),
            Received::Message(message_ref, event) => (message_ref, event),
        };
        if let Some(gate) = self.channel().and_then(|channel| self.service.gate(channel)) {
            let (id, reply) = (self.connection.id(), self.reply(message_ref, message.len()));
            let service = self.service.clone();
            let publish = move |event, reply| service.publish(event, reply);
            self.service.gate_queues.push(id, &gate, event, message.len(), reply, publish);
            return None;
        }
        match event {
            Ok(event) => self.service.publish(event, self.reply(message_ref, message.len())),
            Err(reason) => {
                let (metrics, limit) = (&self.service.context.metrics, self.connection.outbox_bytes());
                acknowledge(Err(reason), message_ref.as_ref(), self.outbox(), limit, metrics);
                self.tell(TailKind::Refused, Some(reason.code()), None);
            }
        }
        None
    }

    fn on_renewal(&mut self, renewal: Renewal) -> Option<u64> {
        accept(&self.service, &self.connection, &mut self.sender, renewal)
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
        self.tell(TailKind::Throttled, None, None);
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
        self.tell(TailKind::Disconnected, Some(reason.label()), Some(reason.code()));
        if let (Some(events), Some(channel), true) =
            (&*self.service.events.load(), self.channel(), self.admitted.is_some())
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

impl Drop for NativeHandler {
    fn drop(&mut self) {
        if let Some(channel) = self.channel() {
            self.service.silent_presence.withdraw(self.connection.id(), channel);
        }
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
