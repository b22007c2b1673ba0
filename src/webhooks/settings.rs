use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::NativeEventKind;
use crate::webhook_target::{InvalidWebhook, WebhookTarget};

/// `[events]`: what the application is told of native channels.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsSettings {
    /// Signs webhooks and the requests of gates.
    pub secret: SecretString,
    /// Whether events are added to the event stream.
    pub stream: bool,
    /// The kinds of channels whose events are. Empty: all.
    pub stream_kinds: Vec<String>,
    /// The events that are. Empty: all.
    pub stream_events: Vec<NativeEventKind>,
    /// About how many entries the stream keeps.
    pub stream_entries: usize,
}

/// An entry of `[[webhooks]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeWebhookSettings {
    /// The URL of the POST requests. `user:password@` before the host is sent as Basic authorization.
    pub url: String,
    /// The kinds of channels whose events the webhook receives. Empty: all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The events that it receives. Empty: all.
    #[serde(default)]
    pub events: Vec<NativeEventKind>,
    /// Additional headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
}

impl EventsSettings {
    /// The shortest secret, in bytes.
    const SECRET_BYTES: usize = 32;

    /// What is wrong with the secret, if something is to be signed.
    #[must_use]
    pub fn secret_problem(&self) -> Option<&'static str> {
        match self.secret.expose_secret().len() {
            0 => Some(
                "is required to sign what the application receives: at least 32 random bytes, such as from \
                 `openssl rand -hex 32`",
            ),
            1..Self::SECRET_BYTES => {
                Some("has less than 32 bytes; use random ones, such as from `openssl rand -hex 32`")
            }
            _ => None,
        }
    }
}

impl NativeWebhookSettings {
    /// Parses the URL and the headers.
    pub fn target(&self) -> Result<WebhookTarget, InvalidWebhook> {
        WebhookTarget::new(&self.url, &self.headers)
    }
}
