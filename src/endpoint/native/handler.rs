use std::sync::Arc;

use crate::broker::{Broker, PublishError};
use crate::hub::{Connection, Outbox};
use crate::message::{ChannelName, Position, Sender};
use crate::protocol::native::{Acknowledgement, Native, RejectReason, close, encode_acknowledgement};
use crate::telemetry::{Metrics, Reason, logged};
use crate::transport::{Admitted, ConnectionHandler, DisconnectReason, EndpointContext, Message};

/// What all connections of the native protocol share.
#[derive(Debug)]
pub(super) struct NativeService {
    pub(super) context: Arc<EndpointContext>,
    pub(super) native: Arc<Native>,
    pub(super) broker: Arc<Broker>,
}

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

    fn publish(&self, message: Message) -> Result<(), RejectReason> {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let channel = self.channel().ok_or(RejectReason::Internal)?;
        let event = self.service.native.receive(channel, &self.sender, &message)?;
        let (outbox, limit) = (self.outbox().clone(), self.connection.outbox_bytes());
        let metrics = self.service.context.metrics.clone();
        let bytes = message.len();
        outbox.asked(bytes);
        let receipt = move |published: Result<Option<Position>, PublishError>| {
            outbox.answered(bytes);
            reply(published.map(drop).map_err(|_| RejectReason::Unavailable), &outbox, limit, &metrics);
        };
        self.service.broker.publish(event, Box::new(receipt));
        Ok(())
    }

    fn channel(&self) -> Option<&ChannelName> {
        self.connection.channels().first()
    }
}

impl ConnectionHandler for NativeHandler {
    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    fn on_message(&mut self, message: Message) {
        if let Err(reason) = self.publish(message) {
            let metrics = &self.service.context.metrics;
            reply(Err(reason), self.outbox(), self.connection.outbox_bytes(), metrics);
        }
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

fn reply(acknowledgement: Acknowledgement, outbox: &Outbox, limit: usize, metrics: &Metrics) {
    match acknowledgement {
        Ok(()) => {
            metrics.messages_accepted.inc();
        }
        Err(reason) => {
            metrics.messages_refused.get_or_create(&Reason::new(reason.code())).inc();
        }
    }
    outbox.push(&encode_acknowledgement(acknowledgement), limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        assert!(size_of::<NativeHandler>() <= 104);
    }
}
