/// Why the server ends a connection. On the wire it is a close code with a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The server is shutting down.
    GoingAway,
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
}

impl Close {
    /// Every reason there is.
    pub const ALL: [Self; 8] = [
        Self::GoingAway,
        Self::ProtocolError,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::SlowConsumer,
        Self::OverCapacity,
        Self::TokenExpired,
        Self::Disconnected,
    ];

    /// The close code: of RFC 6455, section 7.4, or from the private range 4000 to 4999.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::SlowConsumer | Self::OverCapacity => 1013,
            Self::TokenExpired => 4401,
            Self::Disconnected => 4403,
        }
    }

    /// The reason in the close frame, at most 123 bytes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away",
            Self::ProtocolError => "protocol error",
            Self::InvalidUtf8 => "invalid utf-8",
            Self::TooLarge => "message too large",
            Self::SlowConsumer | Self::OverCapacity => "try again later",
            Self::TokenExpired => "token expired",
            Self::Disconnected => "disconnected",
        }
    }

    /// One word for logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GoingAway => "going_away",
            Self::ProtocolError => "protocol_error",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLarge => "message_too_large",
            Self::SlowConsumer => "slow_consumer",
            Self::OverCapacity => "over_capacity",
            Self::TokenExpired => "token_expired",
            Self::Disconnected => "disconnected",
        }
    }
}
