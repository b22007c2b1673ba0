use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::auth;
use crate::broker;
use crate::http::{Admin, Console};
use crate::protocol::native::{ChannelsSettings, SenderSettings};
use crate::socket::{Heartbeat, Limits};

/// The settings of all rooms that serve: what [`super::run`] is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[server]`
    pub server: Listen,
    /// `[admin]`
    pub admin: Admin,
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
}

/// `[server]`: the public port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address to listen on: an IP address or a name that resolves to one.
    pub host: String,
    /// The TCP port. 0 takes a free one, which the log names.
    pub port: u16,
    /// The web origins that may connect, such as `https://app.example.com`. Empty: any.
    pub origins: Vec<String>,
    /// The reverse proxies whose `X-Forwarded-For` is believed, as addresses or networks.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a shutdown may take; the connections are closed spread over it.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}
