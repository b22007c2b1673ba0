use std::sync::Arc;

use crate::message::{ChannelName, UserId};

/// Who a connection belongs to, and the one channel that it joins: the claims of a token that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's id, the claim `id`.
    pub id: UserId,
    /// The display name, the claim `name`.
    pub name: Arc<str>,
    /// The channel, the claim `channel`.
    pub channel: ChannelName,
    /// When the token ends, in seconds since the Unix epoch: the claim `exp`, and `auth.leeway` later.
    pub expires_at: u64,
}
