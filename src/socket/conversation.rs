use bytes::Bytes;

use super::session::End;
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
pub trait Conversation: Send + Unpin + 'static {
    /// A message has come. Answers go into the connection's outbox.
    fn receive(&mut self, message: Message, connection: &Connection);

    /// The connection has ended.
    fn ended(&self, end: End, connection: &Connection);
}
