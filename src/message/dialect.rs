use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{Broadcast, ChannelName, Encoding, Frame, Member, Notice, Position};

/// The engine's interface to the protocol of its subscribers: the meaning of channel names, and the encoding.
pub trait Dialect: fmt::Debug + Send + Sync {
    /// Called once per notice and encoding, not once per subscriber.
    fn encode(&self, notice: &Notice<'_>) -> Frame;

    /// The same for an event that has a position in the history of its channel. An encoding may tell its clients the position.
    fn encode_at(&self, notice: &Notice<'_>, position: Position, encoding: Encoding) -> Frame;

    /// Tells clients that messages of a channel may be missing. `None`: clients of this encoding are not told.
    fn gap(&self, channel: &ChannelName, id: Option<&str>, encoding: Encoding) -> Option<Frame>;

    fn kind(&self, channel: &ChannelName) -> ChannelKind;

    /// Whether a channel keeps this event for those who subscribe later.
    fn is_kept(&self, channel: &ChannelName, event: &str) -> bool;

    /// Prefixes of the topics that a node is subscribed to even while it has no subscriber, because their channels keep events.
    fn kept_topics(&self) -> &'static [&'static str];

    /// Decodes what an application published on the topic of a channel. `None`: the payload is empty, and there is nothing to
    /// deliver.
    fn decode_topic(
        &self,
        app: &Arc<str>,
        channel: &ChannelName,
        payload: &[u8],
    ) -> Result<Option<Broadcast>, InvalidBroadcast>;
}

/// Encodes what the subscribers of an app are told of its members, where their protocol is not the engine's.
pub trait MemberEncoder: fmt::Debug + Send + Sync {
    /// The first connection of a user has joined.
    fn member_added(&self, member: &Member, encoding: Encoding) -> Frame;

    /// The last connection of a user has left.
    fn member_removed(&self, member: &Member, encoding: Encoding) -> Frame;
}

/// The properties that a channel's name implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the properties are independent of each other")]
pub struct ChannelKind {
    /// Its subscribers are members that see each other.
    pub is_presence: bool,
    /// A new subscriber receives the last event.
    pub is_cache: bool,
    /// Only those whom the application lets in can subscribe.
    pub is_guarded: bool,
    /// Webhooks and channel lists include it without naming it.
    pub is_listed: bool,
}

/// Why a payload was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidBroadcast {
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("its `{0}` is missing or not what it should be")]
    Member(&'static str),
    /// Clients would take such an event for the server's own.
    #[error("its name starts with pusher: or pusher_internal:")]
    Reserved,
}
