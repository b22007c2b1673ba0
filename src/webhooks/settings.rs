use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// `[events]`: what the application is told of native channels.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsSettings {
    /// Signs webhooks and the requests of gates.
    pub secret: SecretString,
}

impl EventsSettings {
    /// The shortest secret, in bytes.
    const SECRET_BYTES: usize = 32;

    /// What is wrong with the secret, if something is to be signed.
    #[must_use]
    pub fn secret_problem(&self) -> Option<&'static str> {
        match self.secret.expose_secret().len() {
            0 => Some(
                "is required to sign what the application receives: at least 32 random bytes, such as from `openssl rand -hex 32`",
            ),
            1..Self::SECRET_BYTES => {
                Some("has less than 32 bytes; use random ones, such as from `openssl rand -hex 32`")
            }
            _ => None,
        }
    }
}
