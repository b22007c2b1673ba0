//! The life of a connection, as its task sees it.

use std::sync::Arc;

use super::connection::PusherConnection;
use super::context::PusherContext;
use super::recovery::Recovery;
use crate::channels::OverQuota;
use crate::hub::{Connection, ReadProof};
use crate::message::SocketId;
use crate::protocol::pusher::{Action, App, Fatal, Session, SessionKey};
use crate::transport::DisconnectReason;

/// A connection's place on its channels. Dropping it leaves all of them, so that every admitted connection leaves.
#[derive(Debug)]
pub(super) struct ConnectionGuard(Arc<PusherConnection>);

impl ConnectionGuard {
    /// Opens a session of an app, or resumes the one with this key. The greeting goes into the connection's outbox, now or when it is
    /// known which of the two it is.
    ///
    /// Fails if the app has reached its limit of connections.
    pub(super) fn open(
        context: &Arc<PusherContext>,
        app: &Arc<App>,
        connection: &Connection,
        key: Option<SessionKey>,
    ) -> Result<Self, Fatal> {
        let channels = &context.channels;
        channels.connect(app.credentials.id()).map_err(|OverQuota| Fatal::OverQuota)?;
        let id = channels.socket_id(connection.id());
        let (session, greeting) = Session::open(app.clone(), id, channels.clock());
        if key.is_none() {
            connection.outbox().push(&greeting, connection.outbox_bytes());
        }
        let connection =
            Arc::new(PusherConnection::new(context.clone(), connection.handle(), session, key.is_none()));
        if let Some(key) = key {
            connection.claim(key);
        }
        Ok(Self(connection))
    }

    /// The connection's name in the cluster.
    pub(super) fn id(&self) -> SocketId {
        self.0.lock().session.socket_id()
    }

    /// Handles a message of the client. Answers go into the connection's outbox.
    pub(super) fn receive(&self, message: &[u8]) {
        let connection = &self.0;
        let mut inner = connection.lock();
        connection.greet_without_session(&mut inner);
        let actions = inner.session.receive(message, connection.channels().clock());
        connection.perform(&mut inner, actions);
    }

    /// The client has sent something that is not a message: it is alive.
    pub(super) fn on_activity(&self) {
        self.0.lock().session.record_activity(self.0.channels().clock());
    }

    /// The client has answered a ping with this payload.
    pub(super) fn on_pong(&self, payload: &[u8]) {
        let mut inner = self.0.lock();
        let Some(recovery) = &mut inner.recovery else { return };
        match ReadProof::parse(payload) {
            Some(proof) => {
                if let Some(last) = self.0.channels().delivered() {
                    recovery.prove(proof, last);
                }
            }
            None => recovery.answer(payload),
        }
    }

    /// Performs what is due. Returns whether that included a WebSocket ping.
    pub(super) fn tick(&self) -> bool {
        let connection = &self.0;
        let mut inner = connection.lock();
        let now = connection.channels().clock();
        let actions = inner.session.tick(now);
        let pings = actions.contains(&Action::Ping);
        connection.perform(&mut inner, actions);
        connection.leave_inherited(&mut inner, now);
        if inner.recovery.as_ref().is_some_and(|recovery| recovery.write_at() <= now) {
            connection.write_session(&mut inner);
        }
        pings
    }

    /// When [`tick`](Self::tick) has something to do, in milliseconds of the hub's clock.
    pub(super) fn next_tick(&self) -> u64 {
        let inner = self.0.lock();
        let of_recovery = |recovery: &Recovery| recovery.leave_at().min(recovery.write_at());
        let of_recovery = inner.recovery.as_deref().map_or(u64::MAX, of_recovery);
        inner.session.next_tick().min(of_recovery)
    }

    /// The connection has ended for this reason.
    pub(super) fn end(self, reason: DisconnectReason) {
        self.0.end(reason);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.end(DisconnectReason::Lost);
    }
}
