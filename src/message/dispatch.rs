use std::sync::Arc;

use bytes::Bytes;

use super::Event;

/// What a broker carries.
#[derive(Debug, Clone)]
pub enum Dispatch {
    /// Something said on a native channel.
    Event(Event),
    /// What nodes say to each other: the text of any JSON value, opaque to the broker. See [`Signal`](super::Signal).
    Signal(Bytes),
    /// What an application published on a topic that this node listens to.
    Topic {
        /// The topic, without the prefix.
        topic: Arc<str>,
        /// Whatever was published. Nothing has been checked.
        payload: Bytes,
    },
}

impl From<Event> for Dispatch {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}
