use std::sync::Arc;

use super::connection::ConnectionGuard;
use super::tail::tail_event;
use crate::hub::{Connection, Outbox};
use crate::protocol::pusher::{App, close};
use crate::telemetry::{TailEvent, TailKind};
use crate::transport::{
    Admitted, ConnectionHandler, ConnectionInfo, DisconnectReason, EndpointContext, Message,
};

/// One WebSocket connection of the Pusher protocol, served or only waiting to be closed.
#[derive(Debug)]
pub(super) struct PusherHandler {
    /// Dropped before `served`, so that a place is free only after its connection has left the hub.
    connection: Connection,
    context: Arc<EndpointContext>,
    /// `None`: refused, and only waiting to be closed.
    served: Option<Served>,
}

/// The state of a connection that an app serves.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) app: Arc<App>,
    /// `None` once the connection is closing: it leaves its channels without waiting for the closing handshake.
    pub(super) client: Option<ConnectionGuard>,
    pub(super) _admitted: Admitted,
}

impl PusherHandler {
    pub(super) fn new(context: Arc<EndpointContext>, connection: Connection, served: Option<Served>) -> Self {
        Self { connection, context, served }
    }

    fn client(&self) -> Option<&ConnectionGuard> {
        self.served.as_ref()?.client.as_ref()
    }

    /// Tells operators who watch.
    fn tell(&self, kind: TailKind, reason: Option<DisconnectReason>) {
        self.context.metrics.tail.tell(|| TailEvent {
            app: self.served.as_ref().map(|served| served.app.credentials.id().clone()),
            reason: reason.map(|reason| reason.label().into()),
            code: reason.map(DisconnectReason::code),
            ..tail_event(kind, self.connection.id())
        });
    }

    fn app(&self) -> Option<&str> {
        self.served.as_ref().map(|served| &**served.app.credentials.id())
    }
}

impl ConnectionHandler for PusherHandler {
    fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    fn on_message(&mut self, message: Message) -> Option<u64> {
        let (Message::Text(message) | Message::Binary(message)) = message;
        if let Some(client) = self.client() {
            client.receive(&message);
        }
        None
    }

    fn on_activity(&mut self) {
        if let Some(client) = self.client() {
            client.on_activity();
        }
    }

    fn next_tick(&self) -> u32 {
        let Some(client) = self.client() else { return u32::MAX };
        u32::try_from(client.next_tick().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn on_tick(&mut self) -> bool {
        self.client().is_some_and(ConnectionGuard::tick)
    }

    fn on_pong(&mut self, payload: &[u8]) {
        if let Some(client) = self.client() {
            client.on_pong(payload);
        }
    }

    fn on_closing(&mut self, reason: DisconnectReason) {
        if let Some(client) = self.served.as_mut().and_then(|served| served.client.take()) {
            client.end(reason);
        }
    }

    fn answer_inquiries(&self) {
        self.context.inquiries.answer(self.connection.id(), || {
            let (name, user, channels) = self.client().map_or((None, None, Vec::new()), |client| {
                let (name, user, channels) = client.describe();
                (Some(name), user, channels)
            });
            ConnectionInfo {
                protocol: "pusher",
                name,
                app: self.app().map(str::to_owned),
                user,
                user_name: None,
                channels,
                queued_bytes: self.outbox().queued_bytes(),
            }
        });
    }

    fn on_throttled(&self) {
        self.context.on_throttled();
        self.tell(TailKind::Throttled, None);
        tracing::info!(
            connection = self.connection.id(),
            app = self.app(),
            "throttled: the client sends more than limits.messages_per_second"
        );
    }

    fn on_disconnect(&self, reason: DisconnectReason) {
        self.context.on_disconnected(reason);
        self.tell(TailKind::Disconnected, Some(reason));
        let (connection, app) = (self.connection.id(), self.app());
        if reason == DisconnectReason::Server(&close::CLOSES.slow_consumer) {
            tracing::warn!(
                connection,
                app,
                limit = self.connection.outbox_bytes(),
                "slow consumer: queued messages dropped"
            );
        }
        tracing::info!(connection, app, reason = reason.label(), code = reason.code(), "disconnected");
    }
}
