//! Webhook events and their encoding as a request body.

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::{ChannelName, SocketId, UserId};
use crate::protocol::pusher::EventKind;
use crate::trace_context::{TraceContext, deserialize_sampled};

/// How long a channel or member may take to return before its departure is reported, in milliseconds.
pub(super) const RETURN_WITHIN: u64 = 3000;

/// An event that a webhook reports to the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum WebhookEvent {
    /// The first subscriber joined the channel.
    ChannelOccupied {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
    },
    /// The last subscriber left the channel.
    ChannelVacated {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
    },
    /// The first connection of a user joined a presence channel.
    MemberAdded {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
        #[serde(serialize_with = "id_as_text")]
        user_id: UserId,
    },
    /// The last connection of a user left a presence channel.
    MemberRemoved {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
        #[serde(serialize_with = "id_as_text")]
        user_id: UserId,
    },
    /// A client published an event.
    ClientEvent {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
        event: String,
        /// The `data` that the subscribers received.
        data: String,
        /// The sender.
        socket_id: SocketId,
        /// The sender's member on a presence channel.
        #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "optional_id_as_text")]
        user_id: Option<UserId>,
        /// The trace of the event, if it is traced.
        #[serde(
            rename = "traceparent",
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "deserialize_sampled"
        )]
        trace: Option<Box<TraceContext>>,
    },
    /// A cache channel had no event for a new subscriber.
    CacheMiss {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
    },
    /// The number of subscribers of the channel changed.
    SubscriptionCount {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        channel: ChannelName,
        subscription_count: u64,
    },
}

impl WebhookEvent {
    /// The event as JSON, as the application receives it.
    pub(super) fn encode(&self) -> Bytes {
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(event: &[u8]) -> Option<Self> {
        serde_json::from_slice(event).ok()
    }

    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::ChannelOccupied { .. } => EventKind::ChannelOccupied,
            Self::ChannelVacated { .. } => EventKind::ChannelVacated,
            Self::MemberAdded { .. } => EventKind::MemberAdded,
            Self::MemberRemoved { .. } => EventKind::MemberRemoved,
            Self::ClientEvent { .. } => EventKind::ClientEvent,
            Self::CacheMiss { .. } => EventKind::CacheMiss,
            Self::SubscriptionCount { .. } => EventKind::SubscriptionCount,
        }
    }

    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        match self {
            Self::ChannelOccupied { channel }
            | Self::ChannelVacated { channel }
            | Self::MemberAdded { channel, .. }
            | Self::MemberRemoved { channel, .. }
            | Self::ClientEvent { channel, .. }
            | Self::CacheMiss { channel }
            | Self::SubscriptionCount { channel, .. } => channel,
        }
    }

    /// The size of the strings that a client controls, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        if let Self::ClientEvent { event, data, .. } = self { event.len() + data.len() } else { 0 }
    }

    /// The trace that it belongs to.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        if let Self::ClientEvent { trace, .. } = self { trace.as_deref().copied() } else { None }
    }

    /// The channel or member that arrived or departed. `None` for the other kinds of events.
    pub(super) fn transition(&self) -> Option<(Subject, Direction)> {
        match self {
            Self::ChannelOccupied { channel } => Some(((channel.clone(), None), Direction::Arrival)),
            Self::ChannelVacated { channel } => Some(((channel.clone(), None), Direction::Departure)),
            Self::MemberAdded { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Direction::Arrival))
            }
            Self::MemberRemoved { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Direction::Departure))
            }
            _ => None,
        }
    }
}

/// A channel, or a member of a presence channel.
pub(super) type Subject = (ChannelName, Option<UserId>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Arrival,
    /// Reported only after [`RETURN_WITHIN`].
    Departure,
}

/// The body of a request: `{"time_ms":…,"events":[…]}`. `time` is in milliseconds since the Unix epoch.
pub(super) fn webhook_body<'a>(time: u64, events: impl IntoIterator<Item = &'a WebhookEvent>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        time_ms: u64,
        events: Vec<&'a WebhookEvent>,
    }
    let body = Body { time_ms: time, events: events.into_iter().collect() };
    // Serializing strings and numbers cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn as_text<S: Serializer>(channel: &ChannelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(channel.as_str())
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChannelName, D::Error> {
    ChannelName::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Encodes a numeric ID as a string, too: in the Pusher protocol, user IDs are always strings.
fn id_as_text<S: Serializer>(id: &UserId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.to_text())
}

#[allow(clippy::ref_option, reason = "serde passes the field by reference")]
fn optional_id_as_text<S: Serializer>(id: &Option<UserId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(UserId::to_text).serialize(serializer)
}
