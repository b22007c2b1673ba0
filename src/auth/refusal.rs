use thiserror::Error;

/// Why a token was refused.
///
/// The text is for the owner of the token and for logs: it names claims and rules, never what the token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// The server has no key: it serves apps of the Pusher protocol only.
    #[error("no token is accepted: this server has no key to check one with; set auth.secret")]
    NoKeys,
    /// There is no token at all.
    #[error("a token is required: connect with ?token=<JWT> or with the header Authorization: Bearer <JWT>")]
    Missing,
    /// It is not three parts of base64url with a JSON header.
    #[error("the token is not a JWT")]
    Malformed,
    /// Its `alg` is not one of those that the server accepts.
    #[error("the token's algorithm is not accepted here")]
    AlgorithmNotAccepted,
    /// Its `kid` names no key of the server.
    #[error("the token's kid names no key of this server")]
    UnknownKey,
    /// None of the server's keys made its signature.
    #[error("the token's signature is wrong: was it signed with this server's secret?")]
    BadSignature,
    /// Its `exp` has come.
    #[error("the token has expired, {} ago", span(*ago))]
    Expired {
        /// For how many seconds.
        ago: u64,
    },
    /// Its `nbf` has not come yet.
    #[error("the token is not valid yet, for another {}", span(*ahead))]
    NotYetValid {
        /// For how many seconds more.
        ahead: u64,
    },
    /// Its `iss` is not the one configured.
    #[error("the token's issuer (iss) is not the one expected here")]
    WrongIssuer,
    /// Its `aud` does not name the one configured.
    #[error("the token's audience (aud) does not include this server")]
    WrongAudience,
    /// A claim is missing or of the wrong type. The text says which one and what it has to be.
    #[error("the token's claims are not valid: {0}")]
    InvalidClaims(&'static str),
}

impl Refusal {
    /// The code of the refusal on the wire and in metrics, in `snake_case`.
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
            Self::InvalidClaims(_) => "invalid_claims",
        }
    }
}

/// A span of time, about as exact as it takes to tell clocks that differ from tokens that are old.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
