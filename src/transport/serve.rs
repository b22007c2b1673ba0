use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::ConnectionTask;
use super::http_stream::HttpStream;
use super::{ConnectionHandler, ConnectionOptions, DisconnectReason};
use crate::hub::Connection;

/// Runs a connection in a task of its own, from the moment that the upgrade is through until it ends, or until
/// its token does: `expires_at` is in Unix seconds.
pub fn serve<C: ConnectionHandler>(
    upgrade: OnUpgrade,
    connection: Connection,
    conversation: C,
    options: Arc<ConnectionOptions>,
    expires_at: Option<u64>,
) {
    tokio::spawn(async move {
        let stream = upgrade.await.ok().and_then(|upgraded| upgraded.downcast::<TokioIo<HttpStream>>().ok());
        let Some(parts) = stream else {
            conversation.ended(DisconnectReason::Lost, &connection);
            return;
        };
        let stream = parts.io.into_inner().into_inner();
        // hyper's last waker would keep its finished task alive in the socket's slot.
        let _ = stream.poll_write_ready(&mut Context::from_waker(Waker::noop()));
        connection.outbox().attach(stream);
        let mut session = ConnectionTask::new(connection, conversation, options, expires_at);
        // Copied, for its buffer is larger.
        session.keep(Bytes::copy_from_slice(&parts.read_buf));
        // A task of its own, so that what the upgrade needed is not kept for the life of the connection.
        tokio::spawn(session);
    });
}
