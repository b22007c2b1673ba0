/// Why the server ends a connection. On the wire it is a close code with a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The server is shutting down, and other nodes are there.
    GoingAway,
    /// The server is shutting down, and no other node is there: come back when it has been started again.
    Restarting,
    /// A frame broke RFC 6455.
    ProtocolError,
    /// A text message was not UTF-8.
    InvalidUtf8,
    /// A message was over the size limit.
    TooLarge,
    /// More waited for the connection than may wait.
    SlowConsumer,
    /// The server has no room for the connection.
    OverCapacity,
    /// The token's `exp` has passed.
    TokenExpired,
    /// The application removed the connection.
    Disconnected,
    /// Pusher: the key names no application.
    NoSuchApp,
    /// Pusher: the application is switched off.
    AppDisabled,
    /// Pusher: the application has as many connections as it may have.
    OverQuota,
    /// Pusher: there is nothing at this path.
    PathNotFound,
    /// Pusher: the `protocol` parameter is not a number.
    InvalidVersion,
    /// Pusher: that version of the protocol is not spoken.
    UnsupportedVersion,
    /// Pusher: the `protocol` parameter is missing.
    NoVersion,
    /// Pusher: a sign-in was forged, or the application ended the user's connections.
    Unauthorized,
    /// Pusher: the server has no room for the connection.
    NoRoom,
    /// Pusher: the server is shutting down, and other nodes are there; come back at once.
    Reconnect,
    /// Pusher: the server is shutting down; come back in a moment.
    ReconnectLater,
    /// Pusher: a ping was not answered.
    PongTimeout,
}

impl Close {
    /// Those of the native protocol.
    pub const NATIVE: [Self; 9] = [
        Self::GoingAway,
        Self::Restarting,
        Self::ProtocolError,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::SlowConsumer,
        Self::OverCapacity,
        Self::TokenExpired,
        Self::Disconnected,
    ];

    /// What says the same in the Pusher protocol.
    #[must_use]
    pub const fn in_pusher(self) -> Self {
        match self {
            Self::GoingAway => Self::Reconnect,
            Self::Restarting => Self::ReconnectLater,
            other => other,
        }
    }

    /// The close code: of RFC 6455, section 7.4, or from the private range 4000 to 4999.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::GoingAway | Self::Restarting => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::SlowConsumer | Self::OverCapacity => 1013,
            Self::TokenExpired => 4401,
            Self::Disconnected => 4403,
            Self::NoSuchApp => 4001,
            Self::AppDisabled => 4003,
            Self::OverQuota => 4004,
            Self::PathNotFound => 4005,
            Self::InvalidVersion => 4006,
            Self::UnsupportedVersion => 4007,
            Self::NoVersion => 4008,
            Self::Unauthorized => 4009,
            Self::NoRoom | Self::ReconnectLater => 4100,
            Self::Reconnect => 4200,
            Self::PongTimeout => 4201,
        }
    }

    /// The reason in the close frame, at most 123 bytes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway | Self::Restarting => "going away",
            Self::ProtocolError => "protocol error",
            Self::InvalidUtf8 => "invalid utf-8",
            Self::TooLarge => "message too large",
            Self::SlowConsumer | Self::OverCapacity => "try again later",
            Self::TokenExpired => "token expired",
            Self::Disconnected => "disconnected",
            Self::NoSuchApp => "no such app",
            Self::AppDisabled => "app disabled",
            Self::OverQuota => "over quota",
            Self::PathNotFound => "path not found",
            Self::InvalidVersion => "invalid protocol version",
            Self::UnsupportedVersion => "unsupported protocol version",
            Self::NoVersion => "no protocol version",
            Self::Unauthorized => "unauthorized",
            Self::NoRoom => "over capacity",
            Self::Reconnect => "reconnect",
            Self::ReconnectLater => "reconnect later",
            Self::PongTimeout => "pong timeout",
        }
    }

    /// One word for logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GoingAway | Self::Restarting | Self::Reconnect | Self::ReconnectLater => "going_away",
            Self::ProtocolError => "protocol_error",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLarge => "message_too_large",
            Self::SlowConsumer => "slow_consumer",
            Self::OverCapacity | Self::NoRoom => "over_capacity",
            Self::TokenExpired => "token_expired",
            Self::Disconnected => "disconnected",
            Self::NoSuchApp => "no_such_app",
            Self::AppDisabled => "app_disabled",
            Self::OverQuota => "over_quota",
            Self::PathNotFound => "path_not_found",
            Self::InvalidVersion => "invalid_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NoVersion => "no_version",
            Self::Unauthorized => "unauthorized",
            Self::PongTimeout => "heartbeat_timeout",
        }
    }
}
