use serde::Deserialize;

/// `[console]`: the page to try the service with. It issues tokens: for development only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Whether `/console` is served.
    pub enabled: bool,
}
