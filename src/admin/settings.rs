use std::net::SocketAddr;

use serde::Deserialize;

/// `[admin]`: the port of the operators. Never expose it to the internet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where metrics, readiness and the operators' API are served.
    pub listen: SocketAddr,
    /// Host names that the `Host` header may name, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
}
