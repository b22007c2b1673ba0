use std::net::SocketAddr;

use serde::Deserialize;

/// `[admin]`: the port of the operators. Never expose it to the internet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where metrics, readiness and the operators' API are served.
    pub listen: SocketAddr,
    /// The names under which it is reached, besides addresses and `localhost`: what a `Host` header may say.
    pub hosts: Vec<String>,
}

/// `[console]`: the page to try the service with. It hands out tokens: for development only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Whether `/console` is served.
    pub enabled: bool,
}
