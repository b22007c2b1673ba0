use std::collections::HashMap;

use serde::Deserialize;

use super::GateSettings;
use crate::message::Retention;

/// `[sender]`: the sender of messages that Laravel publishes without naming one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderSettings {
    /// The display name.
    pub name: String,
    /// The user ID.
    pub id: i64,
}

/// `[channels.KIND]`: the rules of the channels whose name starts with `KIND:`, or of all kinds without rules of their own under
/// [`OTHERS`](Self::OTHERS).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// The keys of `data` that are delivered; all of them without the setting, or if it contains `*`.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// Whether `data.target_user_id` narrows a message to one user.
    #[serde(default)]
    pub targeting: bool,
    /// Whether clients may send.
    #[serde(default = "yes")]
    pub client_send: bool,
    /// Whether clients are told who else is on their channel.
    #[serde(default)]
    pub presence: bool,
    /// What is kept of each channel; none has a history without the setting.
    #[serde(default)]
    pub history: Option<Retention>,
    /// Whom to ask before a client's message is published; nobody without the setting.
    #[serde(default)]
    pub gate: Option<GateSettings>,
}

impl ChannelSettings {
    pub const OTHERS: &str = "*";
}

/// `[channels]`, by kind.
pub type ChannelsSettings = HashMap<String, ChannelSettings>;

fn yes() -> bool {
    true
}
