use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// `[redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS. Empty selects the in-memory broker.
    pub url: SecretString,
    /// What Laravel puts before every Redis channel, including the separator.
    pub prefix: String,
    /// How long Redis may take to accept a message before the sender receives `unavailable`.
    #[serde(with = "humantime_serde")]
    pub publish_timeout: Duration,
}
