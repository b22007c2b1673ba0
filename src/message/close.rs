/// How the server ends a connection, as data. Each protocol declares its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Close {
    /// A close code of RFC 6455, section 7.4, or from the private range 4000 to 4999.
    pub code: u16,
    /// The reason in the close frame, at most 123 bytes.
    pub reason: &'static str,
    /// One word for logs and metrics.
    pub label: &'static str,
    pub reconnect: Reconnect,
}

/// What a client should do after a [`Close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// Another node is there, or nothing was wrong with the connection.
    AtOnce,
    /// The server needs a moment.
    AfterDelay,
    /// With new credentials: the old ones would be rejected.
    WithNewToken,
    /// It would be closed again.
    Never,
}

/// Why a room below the protocols ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// More is queued for the connection than its limit allows.
    SlowConsumer,
    /// The node is shutting down, and other nodes are running.
    GoingAway,
    /// The node is shutting down, and no other node is running.
    Restarting,
    /// The client's credentials are valid no longer.
    Expired,
    /// The application removed the connections of a user.
    Disconnected,
}

/// What a protocol sends for each [`CloseReason`].
#[derive(Debug)]
pub struct Closes {
    pub slow_consumer: Close,
    pub going_away: Close,
    pub restarting: Close,
    pub expired: Close,
    pub disconnected: Close,
}

impl Closes {
    #[must_use]
    pub const fn get(&self, reason: CloseReason) -> &Close {
        match reason {
            CloseReason::SlowConsumer => &self.slow_consumer,
            CloseReason::GoingAway => &self.going_away,
            CloseReason::Restarting => &self.restarting,
            CloseReason::Expired => &self.expired,
            CloseReason::Disconnected => &self.disconnected,
        }
    }
}
