//! What the command line takes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::speech::Protocol;
use super::stamp::Stamp;

const EXAMPLES: &str = "\
Examples:
  yamabiko bench                                                     the server of this machine, 100 connections
  yamabiko bench --connections 5000 --channels 50 --rate 200 --duration 30s
  yamabiko bench --url ws://node1:8080 --url ws://node2:8080         the two nodes have to agree
  yamabiko bench --publish redis --rate 50                           publish as Laravel does
  yamabiko bench --protocol pusher --publish http --rate 50          the same for Laravel Echo
  yamabiko bench --window 64 --json result.json                      as fast as it goes
  yamabiko bench --connections 2000 --reconnect 0.1 --slow 0.1       what do the others feel of it?

It needs the server's auth.secret, from the settings or with --secret-file; for the Pusher protocol the app of the settings
(PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET), whichever server it is. It puts real load on the server, under channels
and users of its own. Latency counts from when a message was due, not from when it could be sent.

Exit codes: 0 all copies came once and in order; 1 some did not, or a connection did not last; 2 wrong usage.";

const DISTURBANCES: &str =
    "Disturbances (latency and faults are those of the others; they are told for both halves)";

/// The options of `yamabiko bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A server, as `ws://host:port` or `wss://host`; may be repeated [default: the one of the settings, on this machine]
    #[arg(long)]
    pub url: Vec<String>,

    /// What is spoken with the server
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    pub protocol: Protocol,

    /// The app of the Pusher protocol, where the settings have several
    #[arg(long, value_name = "KEY")]
    pub app_key: Option<String>,

    /// A file with the secret that tokens of the native protocol are signed with [default: auth.secret]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Connections in all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Channels, among which the connections are divided
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub channels: u32,

    /// What the channels are called: NAME-0, NAME-1, … [default: chat:bench, or private-bench for the Pusher protocol]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub channel: Option<String>,

    /// Messages a second in all, by the clock [default: 100]
    #[arg(long, conflicts_with = "window", value_parser = positive)]
    pub(crate) rate: Option<f64>,

    /// Instead, so many messages on their way of each publisher, as fast as they come back
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: Option<u32>,

    /// Who publishes on each channel, in number [default: as many as `limits.messages_per_second`, or the app's
    /// `client_events_per_second`, asks for; 1 for --publish http]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publishers: Option<u16>,

    /// Bytes of text in a message
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    pub(crate) payload: usize,

    /// New connections a second
    #[arg(long, default_value = "500", value_parser = positive)]
    pub(crate) ramp: f64,

    /// How long messages are sent before it is measured
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// How long it is measured
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// Who publishes
    #[arg(long, value_enum, default_value_t = Publish::Websocket)]
    pub publish: Publish,

    /// A source address; repeat it for more than 28,000 connections to one port of this machine: 127.0.0.1, 127.0.0.2, …
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: Vec<IpAddr>,

    /// This share of the connections stops reading in the middle of the measurement; 0.1 is a tenth. 0 disturbs nobody,
    /// and shows how far the two halves differ anyway
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = DISTURBANCES)]
    pub(crate) slow: Option<f64>,

    /// This share of the connections is gone in the middle, without a word, and comes back at once
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = DISTURBANCES)]
    pub(crate) reconnect: Option<f64>,

    /// From the middle on so many more connections come every second, and go after a second
    #[arg(long, value_name = "N", value_parser = positive, help_heading = DISTURBANCES)]
    pub(crate) churn: Option<f64>,

    /// The process of a server on this machine: its CPU time and memory are reported
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// Write the result as JSON; - prints it instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Publish {
    /// Connections: with the Pusher protocol, others than those that read, as client events
    Websocket,
    /// One publisher on redis.url, as Laravel does; with the native protocol
    Redis,
    /// The HTTP API, as Laravel does; with the Pusher protocol
    Http,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "write a positive number".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a share, from 0 to below 1".to_owned())
}

fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<usize>().map_err(|error| error.to_string())?;
    if (Stamp::LENGTH..=16 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a message has at least {} bytes, and at most 16 MiB", Stamp::LENGTH))
    }
}
