use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use crate::message::ChannelName;
use crate::webhook_target::{InvalidWebhook, WebhookTarget};

/// An entry of `[[pusher.webhooks]]` or `[[apps.webhooks]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The URL of the POST requests. `user:password@` before the host is sent as Basic authorization.
    pub url: String,
    /// The kinds of events that the webhook receives. Empty: all.
    #[serde(default)]
    pub events: Vec<EventKind>,
    /// Additional headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// The channels whose events the webhook receives. Empty: all.
    #[serde(default)]
    pub filter: WebhookFilter,
}

/// Selects channels for a webhook. All conditions must hold; an empty condition always does. The keys are Soketi's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookFilter {
    #[serde(default)]
    pub channel_name_starts_with: String,
    #[serde(default)]
    pub channel_name_ends_with: String,
}

/// The kind of a webhook event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
    ClientEvent,
    CacheMiss,
    SubscriptionCount,
}

impl EventKind {
    /// The name on the wire and in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }
}

impl WebhookFilter {
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        name.starts_with(&self.channel_name_starts_with) && name.ends_with(&self.channel_name_ends_with)
    }
}

impl WebhookSettings {
    /// Parses the URL and the headers.
    pub fn target(&self) -> Result<WebhookTarget, InvalidWebhook> {
        WebhookTarget::new(&self.url, &self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_prefix_and_suffix() {
        let filter: WebhookFilter =
            serde_json::from_str(r#"{"channel_name_starts_with":"private-","channel_name_ends_with":".1"}"#)
                .unwrap();
        let matches = |filter: &WebhookFilter, name: &str| filter.matches(&ChannelName::new(name).unwrap());
        assert!(matches(&filter, "private-Chat.1"));
        assert!(!matches(&filter, "private-Chat.2") && !matches(&filter, "presence-Chat.1"));
        assert!(matches(&WebhookFilter::default(), "anything"));
        assert!(serde_json::from_str::<WebhookFilter>(r#"{"starts_with":"x"}"#).is_err());
    }
}
