use std::sync::Arc;

use super::handler::NativeHandler;
use super::presence::Membership;
use crate::hub::Outbox;
use crate::message::Renewal;
use crate::transport::{ConnectionHandler, DisconnectReason, Message};

/// A client of the native protocol on a channel whose clients see each other. A type of its own, so that the connections on other
/// channels do not pay for it.
#[derive(Debug)]
pub(super) struct PresenceHandler(Box<Parts>);

#[derive(Debug)]
struct Parts {
    membership: Membership,
    handler: NativeHandler,
}

impl PresenceHandler {
    pub(super) fn new(handler: NativeHandler, membership: Membership) -> Self {
        Self(Box::new(Parts { membership, handler }))
    }
}

impl ConnectionHandler for PresenceHandler {
    fn outbox(&self) -> &Arc<Outbox> {
        self.0.handler.outbox()
    }

    fn on_message(&mut self, message: Message) -> Option<u64> {
        self.0.handler.on_message(message)
    }

    fn on_renewal(&mut self, renewal: Renewal) -> Option<u64> {
        self.0.handler.on_renewal(renewal)
    }

    fn on_closing(&mut self, _: DisconnectReason) {
        self.0.membership.leave();
    }

    fn answer_inquiries(&self) {
        self.0.handler.answer_inquiries();
    }

    fn on_throttled(&self) {
        self.0.handler.on_throttled();
    }

    fn on_disconnect(&self, reason: DisconnectReason) {
        self.0.membership.leave();
        self.0.handler.on_disconnect(reason);
    }
}
