use bytes::Bytes;

use super::ChannelName;

/// Something that the application is told of. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEvent {
    /// The kind of event, such as `message`.
    pub name: &'static str,
    pub channel: ChannelName,
    /// The event as a JSON object.
    pub payload: Bytes,
}
