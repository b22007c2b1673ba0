use std::sync::Arc;

use crate::broker::StoreState;
use crate::message::SocketId;
use crate::protocol::pusher::Channel;
use crate::unix_time::unix_milliseconds;

/// A session without a connection.
#[derive(Debug)]
pub(super) struct KeptSession {
    pub(super) app: Arc<str>,
    pub(super) socket_id: SocketId,
    pub(super) channels: Vec<KeptChannel>,
    /// Its user is online.
    pub(super) is_signed_in: bool,
    /// When its last connection began, in milliseconds of Unix time. Of two sessions under one key, the later one counts.
    pub(super) claimed_at: u64,
    /// When it ends, in milliseconds of the hub's clock.
    pub(super) until: u64,
    /// Its node could not be asked while the client was connected there, and may not have written its latest channels.
    pub(super) may_lack_channels: bool,
}

#[derive(Debug)]
pub(super) struct KeptChannel {
    pub(super) channel: Channel,
    /// How far the client has read. `None`: the channel has no history, or it is not known.
    pub(super) since: Option<StoreState>,
    /// The client may not have received that it has missed something for good, up to there.
    pub(super) follows_gap: bool,
    /// This node counts the session among the subscribers.
    pub(super) is_local: bool,
}

impl KeptSession {
    pub(super) const fn new(
        app: Arc<str>,
        socket_id: SocketId,
        channels: Vec<KeptChannel>,
        is_signed_in: bool,
        claimed_at: u64,
    ) -> Self {
        Self { app, socket_id, channels, is_signed_in, claimed_at, until: 0, may_lack_channels: false }
    }

    /// When a connection claims this session, or one that begins, in milliseconds of Unix time.
    pub(super) fn next_claim(session: Option<&Self>) -> u64 {
        // Clocks of nodes differ.
        unix_milliseconds().max(session.map_or(0, |session| session.claimed_at.saturating_add(1)))
    }

    /// Whether there is anything to resume.
    pub(super) const fn is_empty(&self) -> bool {
        self.channels.is_empty() && !self.is_signed_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_session_stays_small() {
        assert!(size_of::<KeptSession>() <= 80, "{}", size_of::<KeptSession>());
        assert!(size_of::<KeptChannel>() <= 48, "{}", size_of::<KeptChannel>());
    }
}
