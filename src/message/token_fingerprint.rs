use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// What a connection remembers of its token, so that it can be closed when the token is revoked. Eight bytes, because every
/// connection has one.
///
/// The `jti` is a hash of 32 bits: if one is revoked, another token is taken for it once in four thousand million. That client gets
/// a new token, as after every revocation, and the handshake compares whole texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenFingerprint(u64);

impl TokenFingerprint {
    /// Of a token with these claims. `issued_at` is in Unix seconds.
    #[must_use]
    pub fn new(issued_at: Option<u64>, jti: Option<&str>) -> Self {
        // 0 stands for a connection without a token.
        let issued_at = u32::try_from(issued_at.unwrap_or_default()).unwrap_or(u32::MAX).max(1);
        let hash = |jti| {
            let [a, b, c, d, ..] = FixedState::default().hash_one(jti).to_ne_bytes();
            u32::from_ne_bytes([a, b, c, d]).max(1)
        };
        Self(u64::from(issued_at) << 32 | u64::from(jti.map_or(0, hash)))
    }

    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether this is a token, and it was issued before this Unix second.
    pub(super) const fn is_issued_before(self, before: u64) -> bool {
        let issued_at = self.0 >> 32;
        issued_at != 0 && issued_at < before
    }

    pub(super) const fn has_same_jti(self, other: Self) -> bool {
        let (jti, others) = (self.0 & JTI, other.0 & JTI);
        jti != 0 && jti == others
    }
}

/// The bits of the `jti`.
const JTI: u64 = u32::MAX as u64;
