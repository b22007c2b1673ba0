use thiserror::Error;

/// Why a token is rejected.
///
/// The text is for the token's owner and for logs. It names claims and rules, and never quotes the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum TokenRejectReason {
    /// The server serves apps of the Pusher protocol only.
    #[error("this server has no key to verify tokens with; set auth.secret")]
    NoKeys,
    #[error("a token is required: connect with ?token=<JWT> or with the header Authorization: Bearer <JWT>")]
    Missing,
    /// Not three parts of base64url with a JSON header.
    #[error("the token is not a JWT")]
    Malformed,
    #[error("this server does not accept the token's algorithm")]
    AlgorithmNotAccepted,
    #[error("the token's kid does not match a key of this server")]
    UnknownKey,
    #[error("the token's signature is invalid: was it signed with this server's secret?")]
    BadSignature,
    #[error("the token expired {} ago", span(*ago))]
    Expired {
        /// In seconds.
        ago: u64,
    },
    #[error("the token is not valid for another {}", span(*ahead))]
    NotYetValid {
        /// In seconds.
        ahead: u64,
    },
    #[error("the token's issuer (iss) is not the one that this server expects")]
    WrongIssuer,
    #[error("the token's audience (aud) does not include this server")]
    WrongAudience,
    #[error("the token has been revoked")]
    Revoked,
    /// A claim is missing or has the wrong type. The text names the claim and the type.
    #[error("the token's claims are not valid: {0}")]
    InvalidClaims(&'static str),
}

impl TokenRejectReason {
    /// The code on the wire and in metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoKeys => "no_keys",
            Self::Missing => "missing_token",
            Self::Malformed => "malformed_token",
            Self::AlgorithmNotAccepted => "algorithm_not_accepted",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired { .. } => "token_expired",
            Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Revoked => "revoked",
            Self::InvalidClaims(_) => "invalid_claims",
        }
    }
}

/// A duration, precise enough to tell a clock difference from an old token.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
