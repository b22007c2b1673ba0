use std::sync::Arc;

use crate::message::{ChannelName, UserId};

/// The user of a connection and the one channel that it joins, from the claims of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: UserId,
    pub name: Arc<str>,
    pub channel: ChannelName,
    /// When the token expires, as Unix time in seconds: the claim `exp` plus `auth.leeway`.
    pub expires_at: u64,
}
