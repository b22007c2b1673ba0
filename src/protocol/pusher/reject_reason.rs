use thiserror::Error;

use super::channel::InvalidChannel;
use super::close;
use super::user::{InvalidUser, User};
use crate::auth::pusher::AuthRejectReason;
use crate::message::Close;

/// Why the server closes a connection. The client receives the code in a `pusher:error` frame and in the close frame.
/// [`close`] explains how pusher-js reacts to the ranges of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fatal {
    #[error("no app has this key: is it the key of this server's settings?")]
    NoSuchApp,
    #[error("the app is disabled")]
    AppDisabled,
    /// The app has reached its `connections` limit.
    #[error("the app is over its connection quota")]
    OverQuota,
    #[error("path not found: connect to /app/<key>")]
    PathNotFound,
    /// The token of the session is malformed. With the code for an unknown key, of which it is a part.
    #[error("the session token after the '~' must have 16 to 64 letters, digits, '-' and '_'")]
    InvalidToken,
    /// `protocol` is not a number.
    #[error("the protocol version must be a number")]
    InvalidVersion,
    /// `protocol` is not a supported version.
    #[error("unsupported protocol version: use 5, 6 or 7")]
    UnsupportedVersion,
    /// The query has no `protocol`.
    #[error("no protocol version: connect with ?protocol=7")]
    NoVersion,
    /// The origin is not allowed, a sign-in has a wrong signature, or the application terminated the user's connections.
    #[error("connection not authorized")]
    Unauthorized,
    /// The connection neither signed in nor subscribed to a channel that needs a signature within `authorization_timeout`.
    #[error(
        "connection not authorized: no sign-in and no private or presence channel within authorization_timeout"
    )]
    NeverAuthorized,
    /// The server has reached its limit of connections.
    #[error("over capacity")]
    OverCapacity,
    /// The client sent nothing within `pong_timeout` after a ping.
    #[error("pong reply not received in time")]
    PongTimeout,
}

impl Fatal {
    /// The close frame for this error.
    #[must_use]
    pub fn close(self) -> &'static Close {
        match self {
            Self::NoSuchApp => &close::NO_SUCH_APP,
            Self::AppDisabled => &close::APP_DISABLED,
            Self::OverQuota => &close::OVER_QUOTA,
            Self::PathNotFound => &close::PATH_NOT_FOUND,
            Self::InvalidToken => &close::INVALID_TOKEN,
            Self::InvalidVersion => &close::INVALID_VERSION,
            Self::UnsupportedVersion => &close::UNSUPPORTED_VERSION,
            Self::NoVersion => &close::NO_VERSION,
            Self::Unauthorized | Self::NeverAuthorized => &close::UNAUTHORIZED,
            Self::OverCapacity => &close::OVER_CAPACITY,
            Self::PongTimeout => &close::PONG_TIMEOUT,
        }
    }
}

/// Why the server rejected a message of a client, or performed only a part of it. The client receives `pusher:error`; the
/// connection stays open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RejectReason {
    /// The message is not a JSON object with a string under `event`.
    #[error("a message must be a JSON object with a text under \"event\"")]
    Malformed,
    /// The `data` does not fit the event.
    #[error("{0}")]
    InvalidData(&'static str),
    /// Clients cannot send this event.
    #[error("clients cannot send this event; events of clients start with client-")]
    UnknownEvent,
    #[error("Existing subscription to channel {0}")]
    AlreadySubscribed(String),
    #[error("this connection is signed in as another user; open a new one")]
    SignedInAsAnother,
    /// The watchlist is longer than [`User::MAX_WATCHLIST`]. The sign-in succeeded with the first users of the list.
    #[error("the watchlist names more than {max} users: the first {max} are watched", max = User::MAX_WATCHLIST)]
    WatchlistTooLong,
    /// The application signed `user_data` that is not a valid user.
    #[error("user_data is not valid: {0}")]
    InvalidUser(InvalidUser),
    #[error("this app takes no client events; set client_events = true for it")]
    ClientEventsDisabled,
    /// The connection is not subscribed to the channel of its client event.
    #[error("a client event needs a subscription to its channel")]
    NotSubscribed,
    /// The channel is public or encrypted and therefore takes no client events.
    #[error("client events are for private and presence channels only, and not for encrypted ones")]
    ChannelTakesNone,
    /// Contains the limit of an event name.
    #[error("an event name has at most {0} characters")]
    EventTooLong(usize),
    /// Contains the limit of the data.
    #[error("the data of an event have at most {0} bytes")]
    DataTooLarge(usize),
    /// The broker did not accept the event.
    #[error("the server cannot publish this now; try again later")]
    Unavailable,
    /// Contains the limit of client events per second.
    #[error("too many client events: at most {0} a second")]
    RateLimited(u32),
}

impl RejectReason {
    /// The code in the frame. Pusher defines codes for few reasons.
    #[must_use]
    pub const fn code(&self) -> Option<u16> {
        match self {
            Self::RateLimited(_) => Some(4301),
            Self::WatchlistTooLong => Some(4302),
            _ => None,
        }
    }

    /// The same words as for the native protocol, for operators.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ClientEventsDisabled | Self::NotSubscribed | Self::ChannelTakesNone => "not_allowed",
            Self::DataTooLarge(_) => "message_too_large",
            Self::Unavailable => "unavailable",
            Self::RateLimited(_) => "rate_limited",
            Self::Malformed
            | Self::InvalidData(_)
            | Self::UnknownEvent
            | Self::AlreadySubscribed(_)
            | Self::SignedInAsAnother
            | Self::WatchlistTooLong
            | Self::InvalidUser(_)
            | Self::EventTooLong(_) => "invalid_message",
        }
    }
}

/// Why the server rejected a subscription. The client receives `pusher:subscription_error` on the channel; the connection
/// stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    #[error("{0}")]
    InvalidChannel(#[from] InvalidChannel),
    #[error("{0}")]
    Auth(#[from] AuthRejectReason),
    /// The `channel_data` of a presence channel is missing or invalid.
    #[error("channel_data is not valid: {0}")]
    InvalidMember(#[from] InvalidUser),
    /// Contains the limit of `channel_data`.
    #[error("channel_data has at most {0} bytes")]
    MemberTooLarge(usize),
    /// The connection is not signed in as the user of the channel.
    #[error("sign in as this user before subscribing to its channel")]
    NotThisUser,
    /// Contains the limit of channels per connection.
    #[error("a connection subscribes to at most {0} channels")]
    TooManyChannels(usize),
    /// Contains the limit of members.
    #[error("the presence channel is full: it has at most {0} members")]
    ChannelFull(usize),
    /// The cluster cannot complete the subscription at present.
    #[error("the server cannot subscribe you now; try again later")]
    Unavailable,
}

impl SubscriptionError {
    /// `type` on the wire. pusher-js itself uses `AuthError`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::InvalidChannel(_) => "InvalidChannel",
            Self::Auth(_) | Self::NotThisUser => "AuthError",
            Self::InvalidMember(_) | Self::MemberTooLarge(_) => "InvalidData",
            Self::TooManyChannels(_) | Self::ChannelFull(_) => "LimitReached",
            Self::Unavailable => "Unavailable",
        }
    }

    /// For operators.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidChannel(_) => "invalid_channel",
            Self::Auth(reason) => reason.label(),
            Self::InvalidMember(_) => "invalid_member",
            Self::MemberTooLarge(_) => "member_too_large",
            Self::NotThisUser => "not_this_user",
            Self::TooManyChannels(_) => "too_many_channels",
            Self::ChannelFull(_) => "channel_full",
            Self::Unavailable => "unavailable",
        }
    }

    /// `status` on the wire: the HTTP status that fits the error.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidChannel(_) | Self::InvalidMember(_) => 400,
            Self::Auth(_) => 401,
            Self::NotThisUser | Self::TooManyChannels(_) | Self::ChannelFull(_) => 403,
            Self::MemberTooLarge(_) => 413,
            Self::Unavailable => 503,
        }
    }
}
