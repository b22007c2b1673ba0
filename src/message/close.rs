/// Why a connection ends: the WebSocket close code and the reason that its owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The close code, of RFC 6455 section 7.4 or from the private range 4000 to 4999.
    pub code: u16,
    /// The reason in the close frame, at most 123 bytes.
    pub reason: &'static str,
    /// Whether the client does right to come back.
    pub reconnect: bool,
}

impl Close {
    /// The server is shutting down or draining.
    pub const GOING_AWAY: Self = Self::new(1001, "going away", true);
    /// A frame broke RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self::new(1002, "protocol error", false);
    /// A text message was not UTF-8.
    pub const INVALID_UTF8: Self = Self::new(1007, "invalid utf-8", false);
    /// A message was over the size limit.
    pub const TOO_LARGE: Self = Self::new(1009, "message too large", false);
    /// The reader is too slow, or the server has no place for it.
    pub const TRY_AGAIN_LATER: Self = Self::new(1013, "try again later", true);
    /// The token's `exp` has passed; come back with a new one.
    pub const TOKEN_EXPIRED: Self = Self::new(4401, "token expired", true);
    /// Removed by the application.
    pub const DISCONNECTED: Self = Self::new(4403, "disconnected", false);

    const fn new(code: u16, reason: &'static str, reconnect: bool) -> Self {
        Self { code, reason, reconnect }
    }
}
