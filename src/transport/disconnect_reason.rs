use crate::message::Close;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client closed it, with this code if it sent one.
    Client(Option<u16>),
    /// The server closed it.
    Server(&'static Close),
    /// The client did not answer a ping.
    HeartbeatTimeout,
    /// The connection broke without a close frame.
    Lost,
}

impl DisconnectReason {
    /// For logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Client(_) => "client_closed",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::Lost => "connection_lost",
            Self::Server(close) => close.label,
        }
    }

    /// The close code that was sent or received; 1005 and 1006 stand for none, as in RFC 6455.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Client(code) => code.unwrap_or(1005),
            Self::Server(close) => close.code,
            Self::HeartbeatTimeout | Self::Lost => 1006,
        }
    }
}
