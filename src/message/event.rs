use std::sync::Arc;

use bytes::Bytes;

use super::{ChannelName, UserId};

/// Who said something: a user, by the token, or the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The display name.
    pub name: Arc<str>,
    /// The user's id.
    pub id: UserId,
}

/// Something said on a channel, as it travels between nodes.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where it was said.
    pub channel: ChannelName,
    /// Who said it.
    pub sender: Sender,
    /// The text of a JSON object, as the sender wrote it: valid UTF-8 and valid JSON. Sharing it is free.
    pub data: Bytes,
}

/// Which subscribers of a channel a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// All of them.
    Everyone,
    /// The connections of one user.
    User(UserId),
    /// All but one connection of this node.
    Except(u64),
}
