use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::webhook_target::{InvalidWebhook, WebhookTarget};

/// `gate` of a kind of channel: whom to ask before a client's message is published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSettings {
    /// The URL of the POST requests. `user:password@` before the host is sent as Basic authorization.
    pub url: String,
    /// How long the application may take to decide.
    #[serde(default = "one_second", deserialize_with = "longer_than_nothing")]
    pub timeout: Duration,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Maximum requests at a time, on this node.
    #[serde(default = "sixty_four", deserialize_with = "at_least_one")]
    pub max_in_flight: usize,
}

/// What happens to a message about which the application does not decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    #[default]
    Refuse,
    /// It is published as it is.
    Allow,
}

impl GateSettings {
    pub fn target(&self) -> Result<WebhookTarget, InvalidWebhook> {
        WebhookTarget::new(&self.url, &BTreeMap::new())
    }
}

const fn one_second() -> Duration {
    Duration::from_secs(1)
}

const fn sixty_four() -> usize {
    64
}

fn longer_than_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    if duration.is_zero() { Err(D::Error::custom("must be longer than 0s")) } else { Ok(duration) }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("must be at least 1")),
        count => Ok(count),
    }
}
