use std::sync::atomic::Ordering;

use super::Outbox;
use crate::message::TokenFingerprint;

/// What the connection remembers of its client's token.
impl<W> Outbox<W> {
    /// The client has a token, or a new one.
    pub fn set_token(&self, token: TokenFingerprint) {
        // Sequentially consistent, so that a revocation that the caller does not see afterwards sees this.
        self.token.store(token.bits(), Ordering::SeqCst);
    }

    pub fn token(&self) -> TokenFingerprint {
        TokenFingerprint::from_bits(self.token.load(Ordering::SeqCst))
    }
}
