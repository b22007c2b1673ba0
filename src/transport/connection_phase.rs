/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Our close frame is sent or queued; waits for the client's until `until`.
    Closing {
        cause: Cause,
        until: u32,
    },
    /// Closing handshake done; ends when the outbox is flushed, or at `until`.
    Flushing {
        cause: Cause,
        until: u32,
    },
    /// The client broke the protocol. What it sends is discarded until it closes its side, because closing the socket with unread
    /// data would send a reset that overtakes our close frame.
    Draining {
        cause: Cause,
        until: u32,
        finished: bool,
    },
    Over(Cause),
}

/// A [`DisconnectReason`](super::disconnect_reason::DisconnectReason) without the close, which the outbox has: small, because every connection has a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Client(Option<u16>),
    Server,
    HeartbeatTimeout,
    Lost,
}

impl Phase {
    /// Why the connection ends. `None`: it is open.
    pub(super) const fn cause(self) -> Option<Cause> {
        match self {
            Self::Open => None,
            Self::Closing { cause, .. }
            | Self::Flushing { cause, .. }
            | Self::Draining { cause, .. }
            | Self::Over(cause) => Some(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_stays_small() {
        assert!(size_of::<Phase>() <= 12);
    }
}
