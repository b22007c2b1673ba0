use std::collections::HashMap;
use std::sync::Arc;

use super::Gate;
use crate::message::ChannelName;
use crate::protocol::native::{ChannelSettings, ChannelsSettings, Native};
use crate::telemetry::Metrics;
use crate::webhooks::http_client::http_client;
use crate::webhooks::request_signer::RequestSigner;
use crate::webhooks::settings::EventsSettings;

/// The gates of all kinds of channels that have one.
#[derive(Debug, Default)]
pub struct Gates {
    /// By kind, for each kind that has rules.
    kinds: HashMap<String, Option<Arc<Gate>>>,
    /// Of the kinds without rules.
    other: Option<Arc<Gate>>,
}

impl Gates {
    /// `message_bytes` is the largest `data` that a gate may put in place of a client's.
    #[must_use]
    pub fn new(
        channels: &ChannelsSettings,
        events: &EventsSettings,
        message_bytes: usize,
        native: &Arc<Native>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        if channels.values().all(|rules| rules.gate.is_none()) {
            return Self::default();
        }
        let (http, signer) = (http_client(), RequestSigner::new(&events.secret));
        let mut kinds: HashMap<String, Option<Arc<Gate>>> = channels
            .iter()
            .map(|(kind, rules)| {
                let gate = rules.gate.as_ref().and_then(|settings| {
                    let (http, signer) = (http.clone(), signer.clone());
                    Gate::new(kind, settings, http, signer, message_bytes, native.clone(), metrics.clone())
                });
                (kind.clone(), gate.map(Arc::new))
            })
            .collect();
        let other = kinds.remove(ChannelSettings::OTHERS).flatten();
        Self { kinds, other }
    }

    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> Option<&Arc<Gate>> {
        self.kinds.get(channel.kind()).unwrap_or(&self.other).as_ref()
    }
}
