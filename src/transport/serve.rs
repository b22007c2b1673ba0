use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::ConnectionTask;
use super::http_stream::HttpStream;
use super::{ConnectionHandler, ConnectionOptions, DisconnectReason};

/// Runs a connection in a task of its own, from the upgrade until it ends or its token expires. `expires_at` is in
/// Unix seconds.
pub fn serve<H: ConnectionHandler>(
    upgrade: OnUpgrade,
    handler: H,
    options: Arc<ConnectionOptions>,
    expires_at: Option<u64>,
) {
    tokio::spawn(async move {
        let stream = upgrade.await.ok().and_then(|upgraded| upgraded.downcast::<TokioIo<HttpStream>>().ok());
        let Some(parts) = stream else {
            handler.on_disconnect(DisconnectReason::Lost);
            return;
        };
        let stream = parts.io.into_inner().into_inner();
        // Replaces hyper's last waker, which would keep its finished task alive as long as the socket.
        let _ = stream.poll_write_ready(&mut Context::from_waker(Waker::noop()));
        handler.outbox().attach(stream);
        // With what tokio adds, a task of 152 bytes takes an allocation of 256 bytes, and a larger one takes 512.
        const { assert!(size_of::<ConnectionTask<H>>() <= 152) };
        let mut task = ConnectionTask::new(handler, options, expires_at);
        // Copied, because hyper's buffer is larger than what it holds.
        task.keep(Bytes::copy_from_slice(&parts.read_buf));
        // A separate task, so that the memory of the upgrade is freed.
        tokio::spawn(task);
    });
}
