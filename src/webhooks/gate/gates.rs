use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use secrecy::{ExposeSecret, SecretString};

use super::Gate;
use crate::http_client::http_client;
use crate::message::ChannelName;
use crate::protocol::native::{ChannelSettings, ChannelsSettings, Native};
use crate::telemetry::Metrics;
use crate::webhooks::request_signer::RequestSigner;
use crate::webhooks::settings::EventsSettings;

/// The gates of all kinds of channels that have one.
#[derive(Debug)]
pub struct Gates {
    /// By kind, for each kind that has rules.
    kinds: HashMap<String, Option<Arc<Gate>>, RandomState>,
    /// Of the kinds without rules.
    other: Option<Arc<Gate>>,
    secret: SecretString,
    message_bytes: usize,
}

impl Gates {
    /// `None` if no kind has a gate. `message_bytes` is the largest `data` that a gate may put in place of a client's. A gate whose
    /// settings are the same as `before` stays, with what it knows of the application.
    #[must_use]
    pub fn new(
        channels: &ChannelsSettings,
        events: &EventsSettings,
        message_bytes: usize,
        native: &Arc<Native>,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Option<Self> {
        if channels.values().all(|rules| rules.gate.is_none()) {
            return None;
        }
        let secret = &events.secret;
        let before = before.filter(|before| {
            before.secret.expose_secret() == secret.expose_secret() && before.message_bytes == message_bytes
        });
        let (http, signer) = (http_client(), RequestSigner::new(secret));
        let mut kinds: HashMap<_, _, RandomState> = channels
            .iter()
            .map(|(kind, rules)| {
                let gate = rules.gate.as_ref().and_then(|settings| {
                    let same = before
                        .and_then(|before| before.of_kind(kind))
                        .filter(|gate| gate.settings == *settings);
                    same.cloned().or_else(|| {
                        let (http, signer) = (http.clone(), signer.clone());
                        Gate::new(
                            kind,
                            settings,
                            http,
                            signer,
                            message_bytes,
                            native.clone(),
                            metrics.clone(),
                        )
                        .map(Arc::new)
                    })
                });
                (kind.clone(), gate)
            })
            .collect();
        let other = kinds.remove(ChannelSettings::OTHERS).flatten();
        Some(Self { kinds, other, secret: secret.clone(), message_bytes })
    }

    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Option<&Arc<Gate>> {
        self.kinds.get(channel.kind()).unwrap_or(&self.other).as_ref()
    }

    /// The gate of a kind as the settings name it.
    fn of_kind(&self, kind: &str) -> Option<&Arc<Gate>> {
        if kind == ChannelSettings::OTHERS { self.other.as_ref() } else { self.kinds.get(kind)?.as_ref() }
    }
}
