use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// `[auth]`: who may connect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The shared secret of the JWTs: its bytes as they are. Empty: only `keys` count.
    pub secret: SecretString,
    /// The algorithms accepted with `secret`.
    pub algorithms: Vec<String>,
    /// How far the clock of whoever signs may be off, in whole seconds: added to `exp`, taken from `nbf`.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Whether a connection ends when its token does.
    pub close_on_expiry: bool,
    /// The `iss` claim that a token must have; empty: not checked.
    pub issuer: String,
    /// The `aud` claim that a token must have; empty: not checked.
    pub audience: String,
    /// More keys that are valid at the same time, for rotation and public-key algorithms.
    pub keys: Vec<KeySettings>,
}

/// One of `[[auth.keys]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The `kid` of the tokens that it signs. Without one it is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
    /// The one algorithm that it is good for.
    pub algorithm: String,
    /// The shared secret, for HS256, HS384 and HS512.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// A file with the public key in PEM, for RS*, PS*, ES* and `EdDSA`.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
}
