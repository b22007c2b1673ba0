use std::fmt;

use serde::Deserialize;

/// What a key of the API permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Publishing messages.
    Publish,
    /// Reading channels, histories, connections and users.
    Read,
    /// The data of messages in the live tail.
    Tail,
    /// Closing connections.
    Disconnect,
    /// Revoking tokens.
    Revoke,
    /// Reloading the settings.
    Reload,
    /// Everything.
    #[serde(rename = "*")]
    All,
}

impl Scope {
    /// All but `*`.
    pub(super) const EACH: [Self; 6] =
        [Self::Read, Self::Tail, Self::Publish, Self::Disconnect, Self::Revoke, Self::Reload];

    /// Whether a key with this scope permits what `wanted` is about.
    #[must_use]
    pub fn permits(self, wanted: Self) -> bool {
        self == wanted || self == Self::All
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Tail => "tail",
            Self::Disconnect => "disconnect",
            Self::Revoke => "revoke",
            Self::Reload => "reload",
            Self::All => "*",
        })
    }
}
