use std::sync::Arc;

use bytes::Bytes;

use super::Event;

/// What a broker carries.
#[derive(Debug, Clone)]
pub enum Dispatch {
    /// A message on a native channel.
    Event(Event),
    /// A message between nodes: the text of any JSON value, opaque to the broker. See [`Signal`](super::Signal).
    Signal(Bytes),
    /// A message that an application published on a topic to which this node is subscribed.
    Topic {
        /// The topic, without the prefix.
        topic: Arc<str>,
        /// What was published, unchecked.
        payload: Bytes,
    },
}

impl From<Event> for Dispatch {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}
