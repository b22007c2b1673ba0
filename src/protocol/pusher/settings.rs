use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::history_rule::HistoryRule;
use super::webhook_settings::WebhookSettings;
use crate::message::ChannelName;

/// Defines each setting twice: in `[pusher]` with a default, and in `[[apps]]` as an optional override.
macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// `[pusher]`: the settings of every app that does not override them in `[[apps]]`.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct PusherSettings {
            $($(#[$meta])* pub $name: $type,)*
        }

        impl Default for PusherSettings {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// An entry of `[[apps]]`: the credentials of an app and its overrides of `[pusher]`.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct AppSettings {
            /// The ID in the paths of the HTTP API.
            pub id: String,
            /// The public key that clients connect with.
            pub key: String,
            /// Signs webhooks, and verifies what the application signs.
            pub secret: SecretString,
            /// Secrets that the server still accepts during a rotation.
            #[serde(default)]
            pub previous_secrets: Vec<SecretString>,
            /// A disabled app rejects connections and API calls.
            #[serde(default = "enabled_by_default")]
            pub enabled: bool,
            $($(#[$meta])* #[serde(default)] pub $name: Option<$type>,)*
        }

        impl AppSettings {
            /// An app without overrides.
            #[must_use]
            pub fn new(id: &str, key: &str, secret: SecretString) -> Self {
                Self {
                    id: id.to_owned(),
                    key: key.to_owned(),
                    secret,
                    previous_secrets: Vec::new(),
                    enabled: true,
                    $($name: None,)*
                }
            }

            fn overriding(&self, defaults: &PusherSettings) -> PusherSettings {
                PusherSettings {
                    $($name: self.$name.clone().unwrap_or_else(|| defaults.$name.clone()),)*
                }
            }
        }
    };
}

settings! {
    /// Whether clients may publish `client-` events on private and presence channels.
    client_events: bool = false;
    /// Client events per second that a connection may send. 0: no limit.
    client_events_per_second: u32 = 10;
    /// How long each side waits for a message before it sends a ping. Whole seconds.
    #[serde(with = "humantime_serde")]
    activity_timeout: Duration = Duration::from_secs(30);
    /// How long the server waits for an answer to its ping. Whole seconds.
    #[serde(with = "humantime_serde")]
    pong_timeout: Duration = Duration::from_secs(30);
    /// How long a connection may take to sign in or to subscribe to a channel that needs a signature. Whole seconds. 0: no
    /// limit.
    #[serde(with = "humantime_serde")]
    authorization_timeout: Duration = Duration::ZERO;
    /// Maximum channels of one event of the HTTP API.
    max_channels_per_event: usize = 100;
    /// Maximum events of one call of `batch_events`.
    max_batch_events: usize = 10;
    /// Maximum size of the `data` of an event, in bytes.
    event_bytes: usize = 10_240;
    /// Maximum members of one presence channel.
    presence_members: usize = 100;
    /// Maximum size of the `channel_data` of a member, in bytes.
    presence_user_bytes: usize = 1024;
    /// Maximum characters of an event name.
    event_name_length: usize = 200;
    /// Maximum characters of a channel name; at most 200.
    channel_name_length: usize = ChannelName::MAX_BYTES;
    /// Maximum channels of one connection. 0: no limit.
    channels_per_connection: usize = 1000;
    /// How long a cache channel keeps its last event.
    #[serde(with = "humantime_serde")]
    cache_ttl: Duration = Duration::from_secs(30 * 60);
    /// Whether subscribers receive `subscription_count` events, except on presence channels.
    subscription_count: bool = false;
    /// Maximum connections of the app on this node. 0: no limit.
    connections: usize = 0;
    /// Web origins that may connect, such as `https://app.example.com`. Empty: the origins of `[server]`.
    origins: Vec<String> = Vec::new();
    webhooks: Vec<WebhookSettings> = Vec::new();
    /// Which channels have a history. The first rule that matches a channel applies.
    history: Vec<HistoryRule> = Vec::new();
}

/// Maximum bytes that JSON takes for one byte of a string (`\u0001`). One character takes at most twice as many
/// (`\ud83d\ude00`).
const ESCAPED: usize = 6;

impl PusherSettings {
    /// Whether a channel has a history.
    #[must_use]
    pub fn has_history(&self, channel: &ChannelName) -> bool {
        let mut patterns = self.history.iter().flat_map(|rule| &rule.channels);
        patterns.any(|pattern| pattern.matches(channel.as_str()))
    }

    /// The maximum size of a client message within the limits: a client event, or a subscription with `channel_data`.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        /// Reserve for the channel, the signature and the JSON syntax.
        const REST: usize = 4096;
        let name = self.event_name_length.saturating_mul(2);
        let event = if self.client_events { self.event_bytes.saturating_add(name) } else { 0 };
        event.max(self.presence_user_bytes).saturating_mul(ESCAPED).saturating_add(REST)
    }
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name in its section.
    pub key: &'static str,
    /// What the value must be.
    pub message: String,
}

impl PusherSettings {
    /// Checks the constraints that the types cannot express. The endpoint checks `origins`.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key, message: &str| problems.push(Problem { key, message: message.into() });
        for (key, duration) in
            [("activity_timeout", self.activity_timeout), ("pong_timeout", self.pong_timeout)]
        {
            if duration.is_zero() || duration.subsec_nanos() != 0 {
                problem(key, "must be whole seconds, such as \"30s\", and more than none");
            }
        }
        if self.authorization_timeout.subsec_nanos() != 0 {
            problem("authorization_timeout", "must be whole seconds, such as \"30s\"; 0s: no limit");
        }
        for (key, limit) in [
            ("max_channels_per_event", self.max_channels_per_event),
            ("max_batch_events", self.max_batch_events),
            ("event_bytes", self.event_bytes),
            ("presence_members", self.presence_members),
            ("presence_user_bytes", self.presence_user_bytes),
            ("event_name_length", self.event_name_length),
        ] {
            if limit == 0 {
                problem(key, "must be at least 1");
            }
        }
        if !(1..=ChannelName::MAX_BYTES).contains(&self.channel_name_length) {
            problem("channel_name_length", "must be from 1 to 200");
        }
        if self.cache_ttl.is_zero() {
            problem("cache_ttl", "must be longer than 0s");
        }
        for (index, webhook) in self.webhooks.iter().enumerate() {
            if let Err(error) = webhook.target() {
                problem("webhooks", &format!("number {index}: {error}"));
            }
        }
        problems
    }
}

impl AppSettings {
    /// `defaults` with the overrides of this app. Its rules for histories do not replace those of the defaults, but come first.
    #[must_use]
    pub fn with_defaults(&self, defaults: &PusherSettings) -> PusherSettings {
        let own = self.history.iter().flatten();
        let history = own.chain(&defaults.history).cloned().collect();
        PusherSettings { history, ..self.overriding(defaults) }
    }

    /// All secrets, starting with the one that signs. Omits `secret` if it is empty.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let first = Some(&self.secret).filter(|secret| !secret.expose_secret().is_empty());
        first.into_iter().chain(&self.previous_secrets).cloned().collect()
    }
}

fn enabled_by_default() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::super::webhook_settings::EventKind;
    use super::*;

    #[test]
    fn app_settings_override_the_defaults() {
        let defaults: PusherSettings =
            serde_json::from_str(r#"{"client_events":true,"event_bytes":5,"pong_timeout":"7s"}"#).unwrap();
        assert_eq!(defaults.presence_members, 100);
        let app: AppSettings = serde_json::from_str(
            r#"{"id":"1","key":"k","secret":"s","client_events":false,"activity_timeout":"9s","webhooks":[{"url":"http://a/","events":["channel_occupied"]}]}"#,
        )
        .unwrap();
        let rules = app.with_defaults(&defaults);
        assert_eq!((rules.client_events, rules.event_bytes), (false, 5));
        assert_eq!((rules.activity_timeout.as_secs(), rules.pong_timeout.as_secs()), (9, 7));
        assert_eq!(rules.webhooks[0].events, [EventKind::ChannelOccupied]);
        assert!(app.enabled);
        assert!(rules.problems().is_empty());
        assert!(!format!("{app:?}").contains("\"s\""));
    }

    #[test]
    fn the_defaults_are_valid_and_unknown_keys_are_rejected() {
        assert!(PusherSettings::default().problems().is_empty());
        assert!(serde_json::from_str::<PusherSettings>(r#"{"client_event":true}"#).is_err());
        assert!(serde_json::from_str::<AppSettings>(r#"{"id":"1","key":"k","secret":"s","x":1}"#).is_err());
    }

    #[test]
    fn invalid_values_are_reported() {
        for (setting, key) in [
            (r#"{"activity_timeout":"0s"}"#, "activity_timeout"),
            (r#"{"pong_timeout":"1500ms"}"#, "pong_timeout"),
            (r#"{"authorization_timeout":"500ms"}"#, "authorization_timeout"),
            (r#"{"event_bytes":0}"#, "event_bytes"),
            (r#"{"channel_name_length":201}"#, "channel_name_length"),
            (r#"{"cache_ttl":"0s"}"#, "cache_ttl"),
            (r#"{"webhooks":[{"url":"app.example.com"}]}"#, "webhooks"),
            (r#"{"webhooks":[{"url":"https:///x"}]}"#, "webhooks"),
        ] {
            let problems = serde_json::from_str::<PusherSettings>(setting).unwrap().problems();
            assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), [key], "{setting}");
        }
    }
}
