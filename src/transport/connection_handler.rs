use bytes::Bytes;

use super::DisconnectReason;
use crate::hub::Connection;

/// A whole message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Valid UTF-8.
    Text(Bytes),
    /// Anything.
    Binary(Bytes),
}

/// What one connection's messages mean. The socket loop calls it; it never waits.
pub trait ConnectionHandler: Send + Unpin + 'static {
    /// A message has come. Answers go into the connection's outbox.
    fn receive(&mut self, message: Message, connection: &Connection);

    /// Bytes have come, of a message or of anything else: the client is there.
    fn heard(&mut self) {}

    /// The second of the hub's clock at which [`tick`](Self::tick) has something to do.
    fn next_tick(&self) -> u32 {
        u32::MAX
    }

    /// Does what the time demands, beyond the heartbeat that all connections have. Whether it has sent a ping of WebSocket.
    fn tick(&mut self) -> bool {
        false
    }

    /// The connection is closing: the client gets nothing more, but its socket stays until the closing handshake is done.
    /// May be called more than once.
    fn closing(&mut self) {}

    /// The client sends more than it may: from now on it is read no faster. Called once until it has been slow again.
    fn throttled(&self, _connection: &Connection) {}

    /// The connection has ended.
    fn ended(&self, end: DisconnectReason, connection: &Connection);
}
