use std::sync::Arc;

use super::gate_queue::GateQueue;
use super::handler::{NativeConnection, Received};
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
    pub(super) fn new(mut handler: H, gate: Arc<Gate>) -> Self {
        let queue = GateQueue::new(handler.native().service().clone(), gate);
        Self(Box::new(Parts { handler, queue }))
    }
}

impl<H: NativeConnection> ConnectionHandler for GatedHandler<H> {
    fn outbox(&self) -> &Arc<Outbox> {
        self.0.handler.outbox()
    }

    fn on_message(&mut self, message: Message) -> Option<u64> {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let Parts { handler, queue } = &mut *self.0;
        let native = handler.native();
        match native.receive(&message) {
            Received::Renewal(request) => native.renew(&request),
            Received::Message(message_ref, event) => {
                queue.push(event, message.len(), native.reply(message_ref, message.len()));
                None
            }
        }
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
