use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// `[auth]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The shared secret of the JWTs, used byte for byte. Empty: only `keys` are used.
    pub secret: SecretString,
    /// The algorithms accepted with `secret`.
    pub algorithms: Vec<String>,
    /// Tolerated clock difference to whoever signs, in whole seconds: added to `exp`, subtracted from `nbf`.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Whether a connection is closed when its token expires.
    pub close_on_expiry: bool,
    /// The longest life of a token: how long a revocation lasts after the last token that it concerns was issued.
    #[serde(with = "humantime_serde")]
    pub max_token_age: Duration,
    /// The `iss` claim that a token must have. Empty: not checked.
    pub issuer: String,
    /// The `aud` claim that a token must have. Empty: not checked.
    pub audience: String,
    /// The address of a JSON Web Key Set with more keys. Empty: there is none.
    pub jwks_url: String,
    /// Additional keys, for rotation and public-key algorithms.
    pub keys: Vec<KeySettings>,
}

/// One of `[[auth.keys]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The `kid` of the tokens that the key verifies. Without it, the key is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
    /// The only algorithm that the key is used with.
    pub algorithm: String,
    /// The shared secret, for HS256, HS384 and HS512.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// A file with the public key in PEM, for RS*, PS*, ES* and `EdDSA`.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
}
