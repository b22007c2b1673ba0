use thiserror::Error;

use super::channel::InvalidChannel;
use super::close;
use super::user::{InvalidUser, User};
use crate::auth::pusher::AuthRejectReason;
use crate::message::Close;

/// Why a connection ends. The client gets a `pusher:error` frame with the code, then a close frame with it.
///
/// By the ranges of the codes pusher-js stops for good (4000 to 4099, 4300 and above), comes back after a second
/// (4100 to 4199) or at once (4200 to 4299).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fatal {
    /// No app has this key.
    #[error("no app has this key: is it the key of this server's settings?")]
    NoSuchApp,
    /// The app is switched off.
    #[error("the app is disabled")]
    AppDisabled,
    /// The app has as many connections as it may have.
    #[error("the app is over its connection quota")]
    OverQuota,
    /// Nothing is served at this path.
    #[error("path not found: connect to /app/<key>")]
    PathNotFound,
    /// `protocol` is not a number.
    #[error("the protocol version must be a number")]
    InvalidVersion,
    /// `protocol` is not served.
    #[error("unsupported protocol version: use 5, 6 or 7")]
    UnsupportedVersion,
    /// `protocol` is not in the query.
    #[error("no protocol version: connect with ?protocol=7")]
    NoVersion,
    /// The origin is not allowed, a sign-in was forged, or the application ends the user's connections.
    #[error("connection not authorized")]
    Unauthorized,
    /// It has neither signed in nor joined a channel that needs a signature within the app's `authorization_timeout`.
    #[error(
        "connection not authorized: no sign-in and no private or presence channel within authorization_timeout"
    )]
    NeverAuthorized,
    /// The server is full.
    #[error("over capacity")]
    OverCapacity,
    /// A ping was not answered.
    #[error("pong reply not received in time")]
    PongTimeout,
}

impl Fatal {
    /// The close that ends the connection.
    #[must_use]
    pub fn close(self) -> &'static Close {
        match self {
            Self::NoSuchApp => &close::NO_SUCH_APP,
            Self::AppDisabled => &close::APP_DISABLED,
            Self::OverQuota => &close::OVER_QUOTA,
            Self::PathNotFound => &close::PATH_NOT_FOUND,
            Self::InvalidVersion => &close::INVALID_VERSION,
            Self::UnsupportedVersion => &close::UNSUPPORTED_VERSION,
            Self::NoVersion => &close::NO_VERSION,
            Self::Unauthorized | Self::NeverAuthorized => &close::UNAUTHORIZED,
            Self::OverCapacity => &close::OVER_CAPACITY,
            Self::PongTimeout => &close::PONG_TIMEOUT,
        }
    }
}

/// Why a frame of a client did nothing, or not all that it asks for. It gets `pusher:error`; the connection stays.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is not a JSON object with a text under `event`.
    #[error("a message must be a JSON object with a text under \"event\"")]
    Malformed,
    /// Its `data` is not what the event takes.
    #[error("{0}")]
    InvalidData(&'static str),
    /// Its event is none that a client may send.
    #[error("clients cannot send this event; events of clients start with client-")]
    UnknownEvent,
    /// The connection is subscribed already.
    #[error("Existing subscription to channel {0}")]
    AlreadySubscribed(String),
    /// The connection is signed in as another user.
    #[error("this connection is signed in as another user; open a new one")]
    SignedInAsAnother,
    /// The application named more users to watch than a connection watches.
    #[error("the watchlist names more than {max} users: the first {max} are watched", max = User::MAX_WATCHLIST)]
    WatchlistTooLong,
    /// What the application signed is no user.
    #[error("user_data is not valid: {0}")]
    InvalidUser(InvalidUser),
    /// The app takes no client events.
    #[error("this app takes no client events; set client_events = true for it")]
    ClientEventsDisabled,
    /// The connection is not subscribed to the channel.
    #[error("a client event needs a subscription to its channel")]
    NotSubscribed,
    /// The channel takes no client events.
    #[error("client events are for private and presence channels only, and not for encrypted ones")]
    ChannelTakesNone,
    /// The name of the event is too long.
    #[error("an event name has at most {0} characters")]
    EventTooLong(usize),
    /// The data of the event are too large.
    #[error("the data of an event have at most {0} bytes")]
    DataTooLarge(usize),
    /// The event could not be published.
    #[error("the server cannot publish this now; try again later")]
    Unavailable,
    /// Too many client events.
    #[error("too many client events: at most {0} a second")]
    RateLimited(u32),
}

impl Refusal {
    /// The code in the frame, where Pusher has one.
    #[must_use]
    pub const fn code(&self) -> Option<u16> {
        match self {
            Self::RateLimited(_) => Some(4301),
            Self::WatchlistTooLong => Some(4302),
            _ => None,
        }
    }
}

/// Why a subscription was refused. The client gets `pusher:subscription_error` on the channel; the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    /// The name is not valid.
    #[error("{0}")]
    InvalidChannel(#[from] InvalidChannel),
    /// The signature is missing or wrong.
    #[error("{0}")]
    Auth(#[from] AuthRejectReason),
    /// `channel_data` of a presence channel is missing or wrong.
    #[error("channel_data is not valid: {0}")]
    InvalidMember(#[from] InvalidUser),
    /// `channel_data` is too large.
    #[error("channel_data has at most {0} bytes")]
    MemberTooLarge(usize),
    /// The channel is another user's.
    #[error("sign in as this user before subscribing to its channel")]
    NotThisUser,
    /// The connection has as many channels as it may have.
    #[error("a connection subscribes to at most {0} channels")]
    TooManyChannels(usize),
    /// The channel has as many members as it may have.
    #[error("the presence channel is full: it has at most {0} members")]
    ChannelFull(usize),
    /// The server cannot do it now.
    #[error("the server cannot subscribe you now; try again later")]
    Unavailable,
}

impl SubscriptionError {
    /// `type` on the wire. `AuthError` is pusher-js's own word.
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

    /// `status` on the wire: that of HTTP for such a case.
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
