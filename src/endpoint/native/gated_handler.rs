use std::sync::Arc;

use super::gate_queue::GateQueue;
use super::handler::NativeConnection;
use crate::hub::Outbox;
use crate::transport::{ConnectionHandler, DisconnectReason, Message};
use crate::webhooks::Gate;

/// A client of the native protocol on a channel with a gate. A type of its own, so that the connections on other channels do not pay
/// for it.
#[derive(Debug)]
pub(super) struct GatedHandler<H>(Box<Parts<H>>);

#[derive(Debug)]
struct Parts<H> {
    handler: H,
    queue: Arc<GateQueue>,
}

impl<H: NativeConnection> GatedHandler<H> {
    pub(super) fn new(handler: H, gate: Arc<Gate>) -> Self {
        let queue = GateQueue::new(handler.native().service().clone(), gate);
        Self(Box::new(Parts { handler, queue }))
    }
}

impl<H: NativeConnection> ConnectionHandler for GatedHandler<H> {
    fn outbox(&self) -> &Arc<Outbox> {
        self.0.handler.outbox()
    }

    fn on_message(&mut self, message: Message) {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let native = self.0.handler.native();
        let (message_ref, event) = native.receive(&message);
        self.0.queue.push(event, message.len(), native.reply(message_ref, message.len()));
    }

    fn answer_inquiries(&self) {
        self.0.handler.answer_inquiries();
    }

    fn on_closing(&mut self, reason: DisconnectReason) {
        self.0.handler.on_closing(reason);
    }

    fn on_throttled(&self) {
        self.0.handler.on_throttled();
    }

    fn on_disconnect(&self, reason: DisconnectReason) {
        self.0.handler.on_disconnect(reason);
    }
}
