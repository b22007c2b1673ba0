use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// `[redis]`: the broker between Laravel and the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS. Empty: the embedded in-memory broker.
    pub url: SecretString,
    /// What Laravel puts before every Redis channel; its separator is part of it.
    pub prefix: String,
    /// How long Redis may take to accept a message before its sender is told `unavailable`.
    #[serde(with = "humantime_serde")]
    pub publish_timeout: Duration,
}
