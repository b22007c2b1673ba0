use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

/// What a reload has changed, by the names of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReloadReport {
    /// In force from now on.
    #[schema(example = json!(["auth.secret", "channels.chat.fields"]))]
    pub reloaded: Vec<String>,
    /// Changed since the start, but they need a restart.
    pub pending: Vec<PendingSetting>,
}

/// A setting that has changed and needs a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PendingSetting {
    #[schema(example = "server.port")]
    pub setting: String,
    #[schema(example = "the port is opened at the start")]
    pub reason: &'static str,
}

/// Reloads the settings. The error has one problem a line.
#[derive(Clone)]
pub struct Reload(pub(super) Arc<dyn Fn() -> Result<ReloadReport, String> + Send + Sync>);

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}
