use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::protocol::Protocol;
use super::stamp::Stamp;

const EXAMPLES: &str = "\
Examples:
  yamabiko bench                                                     the local server, 100 connections
  yamabiko bench --connections 5000 --channels 50 --rate 200 --duration 30s
  yamabiko bench --url ws://node1:8080 --url ws://node2:8080         spread over two nodes
  yamabiko bench --publish redis --rate 50                           publish as Laravel does
  yamabiko bench --protocol pusher --publish http --rate 50          the same for Laravel Echo
  yamabiko bench --window 64 --json result.json                      closed loop: maximum throughput
  yamabiko bench --connections 2000 --reconnect 0.1 --slow 0.1       how disturbances affect the other connections

The native protocol needs the server's auth.secret, from the settings or --secret-file. The Pusher protocol needs the app's
credentials (PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET), for whichever server it is. The load is real, but uses
channels and users of its own. Latency is measured from when a message was due, not from when it was sent.

Exit codes: 0 every copy arrived once and in order; 1 copies or connections were lost; 2 wrong usage.";

const CHAOS: &str =
    "Chaos (latency and faults are those of the undisturbed connections, reported before and during it)";

/// The options of `yamabiko bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Server URL, as `ws://host:port` or `wss://host`; repeat it to spread over several nodes [default: the local server
    /// of these settings]
    #[arg(long)]
    pub url: Vec<String>,

    /// Protocol of the connections
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    pub protocol: Protocol,

    /// App of the Pusher protocol; required if the settings have several
    #[arg(long, value_name = "KEY")]
    pub app_key: Option<String>,

    /// File with the secret that signs the tokens of the native protocol [default: auth.secret]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Total number of connections
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Number of channels; the connections are spread over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub channels: u32,

    /// Prefix of the channel names: NAME-0, NAME-1, … [default: chat:bench, or private-bench for the Pusher protocol]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub channel: Option<String>,

    /// Open loop: publish N messages per second in total, on schedule [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "window", value_parser = positive)]
    pub(crate) rate: Option<f64>,

    /// Closed loop: keep N messages in flight per publisher
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: Option<u32>,

    /// Publishers per channel [default: as many as are needed to stay below `limits.messages_per_second` or the app's
    /// `client_events_per_second`; 1 for --publish http]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publishers: Option<u16>,

    /// Bytes of text per message
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    pub(crate) payload: usize,

    /// Open N connections per second
    #[arg(long, value_name = "N", default_value = "500", value_parser = positive)]
    pub(crate) ramp: f64,

    /// How long to publish before the measurement
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// Length of the measurement
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// How to publish
    #[arg(long, value_enum, default_value_t = PublishVia::Websocket)]
    pub publish: PublishVia,

    /// Local source address; repeat it (127.0.0.1, 127.0.0.2, …) to open more than 28,000 connections to one local port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: Vec<IpAddr>,

    /// Halfway through, this share of the connections stops reading: 0.1 is a tenth. 0 disturbs nothing and shows how much
    /// the two halves differ anyway
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = CHAOS)]
    pub(crate) slow: Option<f64>,

    /// Halfway through, this share of the connections drops without a close frame and reconnects at once
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = CHAOS)]
    pub(crate) reconnect: Option<f64>,

    /// From halfway on, N additional connections open every second, each for a second
    #[arg(long, value_name = "N", value_parser = positive, help_heading = CHAOS)]
    pub(crate) churn: Option<f64>,

    /// Process id of a local server: report its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// Write the report as JSON; - prints JSON instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PublishVia {
    /// Over WebSocket: from subscribers, or with the Pusher protocol as client events from publish-only connections
    Websocket,
    /// Over redis.url from a single publisher, as Laravel does; native protocol only
    Redis,
    /// Over the HTTP API, as Laravel does; Pusher protocol only
    Http,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a positive number".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to below 1".to_owned())
}

fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<usize>().map_err(|error| error.to_string())?;
    if (Stamp::LENGTH..=16 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a message has between {} bytes and 16 MiB", Stamp::LENGTH))
    }
}
