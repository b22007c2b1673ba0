use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::webhook_settings::WebhookSettings;
use crate::message::ChannelName;

/// Writes `[pusher]`, where every setting has a value, and `[[apps]]`, where it may have one that wins.
macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// `[pusher]`: what every app may do, unless its own entry says otherwise.
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

        /// One of `[[apps]]`: who it is, and what differs from `[pusher]`.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct AppSettings {
            /// The id in the paths of the HTTP API.
            pub id: String,
            /// The public key, which clients connect with.
            pub key: String,
            /// The secret, which signs.
            pub secret: SecretString,
            /// More secrets that are accepted, while one is being replaced.
            #[serde(default)]
            pub previous_secrets: Vec<SecretString>,
            /// Whether it is served.
            #[serde(default = "yes")]
            pub enabled: bool,
            $($(#[$meta])* #[serde(default)] pub $name: Option<$type>,)*
        }

        impl AppSettings {
            /// An app that differs in nothing from `[pusher]`.
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

            /// What is in force for this app.
            #[must_use]
            pub fn over(&self, defaults: &PusherSettings) -> PusherSettings {
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
    /// After so long without a message a client asks whether the server is there, and the other way about. Whole
    /// seconds.
    #[serde(with = "humantime_serde")]
    activity_timeout: Duration = Duration::from_secs(30);
    /// How long the answer may take. Whole seconds.
    #[serde(with = "humantime_serde")]
    pong_timeout: Duration = Duration::from_secs(30);
    /// How long a connection may take to sign in or to subscribe to a channel that needs a signature. Whole seconds. Zero: as
    /// long as it likes.
    #[serde(with = "humantime_serde")]
    authorization_timeout: Duration = Duration::ZERO;
    /// Channels of one event of the HTTP API.
    max_channels_per_event: usize = 100;
    /// Events of one call of `batch_events`.
    max_batch_events: usize = 10;
    /// The largest `data` of an event, in bytes.
    event_bytes: usize = 10_240;
    /// Members of one presence channel.
    presence_members: usize = 100;
    /// The largest `channel_data` of a member, in bytes.
    presence_user_bytes: usize = 1024;
    /// Characters of an event's name.
    event_name_length: usize = 200;
    /// Characters of a channel name, 200 at most.
    channel_name_length: usize = ChannelName::MAX_BYTES;
    /// Channels that one connection may subscribe to. 0: no limit.
    channels_per_connection: usize = 1000;
    /// How long a cache channel keeps its last event.
    #[serde(with = "humantime_serde")]
    cache_ttl: Duration = Duration::from_secs(30 * 60);
    /// Whether subscribers hear how many they are, on channels that are not presence channels.
    subscription_count: bool = false;
    /// Connections of the app on this node. 0: no limit.
    connections: usize = 0;
    /// Web origins that may connect, as `https://app.example.com`. Empty: those of `[server]`.
    origins: Vec<String> = Vec::new();
    /// Where the application is told what happens.
    webhooks: Vec<WebhookSettings> = Vec::new();
}

/// A byte of a text takes at most so many in JSON, and a character at most twice as many: `\u0001`, `\ud83d\ude00`.
const ESCAPED: usize = 6;

impl PusherSettings {
    /// The largest message of a client that can be within the limits: a client event, or the `channel_data` of a member.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        /// The channel, the signature and what JSON puts around them.
        const REST: usize = 4096;
        let name = self.event_name_length.saturating_mul(2);
        let event = if self.client_events { self.event_bytes.saturating_add(name) } else { 0 };
        event.max(self.presence_user_bytes).saturating_mul(ESCAPED).saturating_add(REST)
    }
}

/// Something wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name in its section.
    pub key: &'static str,
    /// What it has to be.
    pub message: String,
}

impl PusherSettings {
    /// What the types cannot say. Origins are for the socket's edge to check.
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
    /// All secrets, the one that signs first. A secret that is left empty in `secret` is not counted.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let first = Some(&self.secret).filter(|secret| !secret.expose_secret().is_empty());
        first.into_iter().chain(&self.previous_secrets).cloned().collect()
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::super::webhook_settings::EventKind;
    use super::*;

    #[test]
    fn an_app_wins_over_the_defaults() {
        let defaults: PusherSettings =
            serde_json::from_str(r#"{"client_events":true,"event_bytes":5,"pong_timeout":"7s"}"#).unwrap();
        assert_eq!(defaults.presence_members, 100);
        let app: AppSettings = serde_json::from_str(
            r#"{"id":"1","key":"k","secret":"s","client_events":false,"activity_timeout":"9s","webhooks":[{"url":"http://a/","events":["channel_occupied"]}]}"#,
        )
        .unwrap();
        let rules = app.over(&defaults);
        assert_eq!((rules.client_events, rules.event_bytes), (false, 5));
        assert_eq!((rules.activity_timeout.as_secs(), rules.pong_timeout.as_secs()), (9, 7));
        assert_eq!(rules.webhooks[0].events, [EventKind::ChannelOccupied]);
        assert!(app.enabled);
        assert!(rules.problems().is_empty());
        assert!(!format!("{app:?}").contains("\"s\""));
    }

    #[test]
    fn the_defaults_are_sound() {
        assert!(PusherSettings::default().problems().is_empty());
        assert!(serde_json::from_str::<PusherSettings>(r#"{"client_event":true}"#).is_err());
        assert!(serde_json::from_str::<AppSettings>(r#"{"id":"1","key":"k","secret":"s","x":1}"#).is_err());
    }

    #[test]
    fn what_cannot_be() {
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
