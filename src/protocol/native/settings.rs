use std::collections::HashMap;

use serde::Deserialize;

/// `[sender]`: who speaks when Laravel publishes without naming a sender.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderSettings {
    /// The display name.
    pub name: String,
    /// The user id.
    pub id: i64,
}

/// `[channels.KIND]`: the rules of the channels whose name starts with `KIND:`; of all that have none of their own under
/// [`OTHERS`](Self::OTHERS).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// The keys of `data` that are delivered; without the setting, and where it is `*`, all of them.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// Whether `data.target_user_id` narrows a message to one user.
    #[serde(default)]
    pub targeting: bool,
    /// Whether browsers may send.
    #[serde(default = "yes")]
    pub client_send: bool,
}

impl ChannelSettings {
    /// The kind that stands for all others.
    pub const OTHERS: &str = "*";
}

/// `[channels]`, by kind.
pub type ChannelsSettings = HashMap<String, ChannelSettings>;

fn yes() -> bool {
    true
}
