use std::sync::Arc;

use bytes::Bytes;

use super::{ChannelName, UserId};
use crate::trace_context::TraceContext;

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
    /// The `type` that an application has given the message. `None`: it is a plain message.
    pub message_type: Option<Arc<str>>,
    /// The trace that it belongs to. `None`: it is not decided whether it is traced, or it is not.
    pub trace: Option<Box<TraceContext>>,
}

impl Event {
    #[must_use]
    pub fn new(channel: ChannelName, sender: Sender, data: Bytes) -> Self {
        Self { channel, sender, data, message_type: None, trace: None }
    }

    /// The same with a `type`, which the clients receive in place of `message`.
    #[must_use]
    pub fn with_type(self, message_type: Option<Arc<str>>) -> Self {
        Self { message_type, ..self }
    }

    /// The same as a part of a trace.
    #[must_use]
    pub fn with_trace(self, trace: Option<TraceContext>) -> Self {
        Self { trace: trace.map(Box::new), ..self }
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
