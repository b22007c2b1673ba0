use std::sync::Arc;

use bytes::Bytes;

use super::DisconnectReason;
use crate::hub::Outbox;
use crate::message::Renewal;

/// A whole message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Valid UTF-8.
    Text(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

/// The protocol's side of one connection. The connection's task calls it; no method may block.
pub trait ConnectionHandler: Send + Unpin + 'static {
    /// The outbox of this connection: always the same one.
    fn outbox(&self) -> &Arc<Outbox>;

    /// Handles a message. Replies go into the outbox. Returns until when the client may stay, in Unix seconds, if the message has
    /// changed that.
    fn on_message(&mut self, message: Message) -> Option<u64>;

    /// A request has brought a new token for this connection, as [`Streams`](super::Streams) do. Returns until when the client may stay,
    /// in Unix seconds, if that has changed.
    fn on_renewal(&mut self, _: Renewal) -> Option<u64> {
        None
    }

    /// Bytes have arrived, of a message or of a control frame: the client is alive.
    fn on_activity(&mut self) {}

    /// The second of the hub's clock at which [`on_tick`](Self::on_tick) is due.
    fn next_tick(&self) -> u32 {
        u32::MAX
    }

    /// Does what is due. Returns true if it has sent a WebSocket ping.
    fn on_tick(&mut self) -> bool {
        false
    }

    /// The client has answered a ping that had this payload.
    fn on_pong(&mut self, _payload: &[u8]) {}

    /// Answers those who [ask](super::Inquiries) about this connection. Called at every turn of the task.
    fn answer_inquiries(&self) {}

    /// A close frame has been sent or received, or the connection is lost: nothing more is delivered, but the socket stays open until
    /// the closing handshake is done. May be called more than once.
    fn on_closing(&mut self, _reason: DisconnectReason) {}

    /// The client has exceeded its message rate, so that it is read more slowly. Called again only after it has been below
    /// the rate.
    fn on_throttled(&self) {}

    /// The connection has ended.
    fn on_disconnect(&self, reason: DisconnectReason);
}
