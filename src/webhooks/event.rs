//! The events of webhooks, and the body of a request.

use serde::{Serialize, Serializer};

use crate::message::{ChannelName, SocketId, UserId};
use crate::protocol::pusher::EventKind;

/// How long a vacated channel or an absent member may take to return, in milliseconds, before the application is told.
pub(super) const RETURN_WITHIN: u64 = 3000;

/// An event that the application receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum WebhookEvent {
    /// A channel has its first subscriber.
    ChannelOccupied {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// A channel has lost its last subscriber.
    ChannelVacated {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// A user's first connection has joined a presence channel.
    MemberAdded {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Who.
        #[serde(serialize_with = "id_as_text")]
        user_id: UserId,
    },
    /// A user's last connection has left a presence channel.
    MemberRemoved {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Who.
        #[serde(serialize_with = "id_as_text")]
        user_id: UserId,
    },
    /// A client has published an event.
    ClientEvent {
        /// Where.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Its name.
        event: String,
        /// What the receivers found under `data`.
        data: String,
        /// Which connection.
        socket_id: SocketId,
        /// Who, on a presence channel.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_id_as_text")]
        user_id: Option<UserId>,
    },
    /// A cache channel had no event for a new subscriber.
    CacheMiss {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// The number of subscribers of a channel has changed.
    SubscriptionCount {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// How many there are.
        subscription_count: u64,
    },
}

impl WebhookEvent {
    /// Which kind it is.
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

    /// The channel that it is about.
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

    /// The length of the texts that clients write, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        if let Self::ClientEvent { event, data, .. } = self { event.len() + data.len() } else { 0 }
    }

    /// The channel or member that has come or gone, if the event is about that.
    pub(super) fn transition(&self) -> Option<(Subject, Way)> {
        match self {
            Self::ChannelOccupied { channel } => Some(((channel.clone(), None), Way::Comes)),
            Self::ChannelVacated { channel } => Some(((channel.clone(), None), Way::Goes)),
            Self::MemberAdded { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Way::Comes))
            }
            Self::MemberRemoved { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Way::Goes))
            }
            _ => None,
        }
    }
}

/// A channel, or a member of one.
pub(super) type Subject = (ChannelName, Option<UserId>);

/// Whether it has come or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Comes,
    /// The application is told only after [`RETURN_WITHIN`].
    Goes,
}

/// The body of a request: `{"time_ms":…,"events":[…]}`. `time` is in milliseconds since the Unix epoch.
pub(super) fn webhook_body(time: u64, events: &[WebhookEvent]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        time_ms: u64,
        events: &'a [WebhookEvent],
    }
    // Texts and numbers can always be written as JSON.
    serde_json::to_vec(&Body { time_ms: time, events }).unwrap_or_default()
}

fn as_text<S: Serializer>(channel: &ChannelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(channel.as_str())
}

/// In the Pusher protocol the ID of a user is always a string.
fn id_as_text<S: Serializer>(id: &UserId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.to_text())
}

#[allow(clippy::ref_option, reason = "serde passes the field by reference")]
fn optional_id_as_text<S: Serializer>(id: &Option<UserId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(UserId::to_text).serialize(serializer)
}
