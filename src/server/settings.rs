use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::admin::Admin;
use crate::api::Api;
use crate::auth;
use crate::broker;
use crate::console::Console;
use crate::protocol::native::{ChannelsSettings, SenderSettings};
use crate::protocol::pusher::{AppSettings, PusherSettings};
use crate::telemetry::TracingSettings;
use crate::transport::{Heartbeat, Limits};
use crate::webhooks::{EventsSettings, NativeWebhookSettings};

/// The settings of a server, for [`super::run()`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[server]`
    pub server: Listen,
    /// `[admin]`
    pub admin: Admin,
    /// `[api]`
    pub api: Api,
    /// `[console]`
    pub console: Console,
    /// `[auth]`
    pub auth: auth::Settings,
    /// `[redis]`
    pub redis: broker::Settings,
    /// `[limits]`
    pub limits: Limits,
    /// `[heartbeat]`
    pub heartbeat: Heartbeat,
    /// `[sender]`
    pub sender: SenderSettings,
    /// `[channels]`
    pub channels: ChannelsSettings,
    /// `[pusher]`
    pub pusher: PusherSettings,
    /// `[[apps]]`
    pub apps: Vec<AppSettings>,
    /// `[recovery]`
    pub recovery: Recovery,
    /// `[[webhooks]]`
    pub webhooks: Vec<NativeWebhookSettings>,
    /// `[events]`
    pub events: EventsSettings,
    /// `[tracing]`
    pub tracing: TracingSettings,
}

/// `[recovery]`: what a client finds when it comes back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// How long a session of the Pusher protocol is kept after its connection has ended.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The memory for the history of one channel on this node, in bytes.
    pub channel_bytes: usize,
    /// The memory for the histories of all channels on this node, in bytes.
    pub total_bytes: usize,
}

/// `[server]`: the public port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address to listen on: an IP address or a host name.
    pub host: String,
    /// The TCP port. 0 picks a free one, which is logged.
    pub port: u16,
    /// Allowed web origins, such as `https://app.example.com`. Empty: any.
    pub origins: Vec<String>,
    /// Whether clients may use server-sent events where WebSocket is blocked.
    pub sse: bool,
    /// Reverse proxies whose `X-Forwarded-For` is trusted, as addresses or networks.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How long closing the connections may take. If there are other nodes, the closes are spread over this time.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

/// Networks such as `10.0.0.0/8`; a single address is a network of one.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                D::Error::custom(format_args!("{text:?} is neither an IP address nor a network"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let read = |text: &str| networks(&mut serde_json::Deserializer::from_str(text));
        let networks = read(r#"["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"]"#).unwrap();
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "2001:db8::/32"]);
        for wrong in ["localhost", "10.0.0.0/33", "", "127.0.0.1:80"] {
            let error = read(&format!("[{wrong:?}]")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{wrong:?} is neither")), "{error}");
        }
    }
}
