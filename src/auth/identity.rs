use std::sync::Arc;

use crate::message::{ChannelName, TokenFingerprint, UserId};

/// The user of a connection and the one channel that it joins, from the claims of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: UserId,
    pub name: Arc<str>,
    pub channel: ChannelName,
    /// When the token expires, as Unix time in seconds: the claim `exp` plus `auth.leeway`.
    pub expires_at: u64,
    /// The claim `iat`, as Unix time in seconds.
    pub issued_at: Option<u64>,
    /// The claim `jti`.
    pub jti: Option<Box<str>>,
}

impl Identity {
    #[must_use]
    pub fn fingerprint(&self) -> TokenFingerprint {
        TokenFingerprint::new(self.issued_at, self.jti.as_deref())
    }
}
