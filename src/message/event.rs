use std::sync::Arc;

use bytes::Bytes;

use super::{ChannelName, Position, UserId};

/// The author of an event: a user, as named by the token, or the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The display name.
    pub name: Arc<str>,
    pub id: UserId,
}

/// A message on a channel, as it travels between nodes.
#[derive(Debug, Clone)]
pub struct Event {
    pub channel: ChannelName,
    pub sender: Sender,
    /// The text of a JSON object, as the sender wrote it: valid UTF-8 and valid JSON. Cloning shares it.
    pub data: Bytes,
    /// Where the event is in the history of its channel; `None` if the channel has no history.
    pub position: Option<Position>,
}

impl Event {
    /// An event that no history has numbered.
    #[must_use]
    pub fn new(channel: ChannelName, sender: Sender, data: Bytes) -> Self {
        Self { channel, sender, data, position: None }
    }
}

/// Which subscribers of a channel receive a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    Everyone,
    /// The connections of one user.
    User(UserId),
    /// Everyone except one connection of this node.
    Except(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_adds_16_bytes_to_an_event() {
        assert_eq!((size_of::<Option<Position>>(), size_of::<Event>()), (16, 96));
    }
}
