//! A load generator for one's own deployment, and for others to compare it with.

mod apart;
mod api;
mod audit;
mod connection;
mod disturb;
mod door;
mod drive;
mod frames;
mod machine;
mod options;
mod outcome;
mod pacer;
mod progress;
mod redis;
mod report;
mod speech;
mod stamp;
mod table;
mod tally;
mod target;
mod track;
mod verdict;
mod voice;
mod workload;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use humantime_serde::re::humantime;

use self::disturb::Disturbance;
use self::door::Door;
use self::drive::{Drive, Pace};
use self::progress::Progress;
use self::report::Report;
use self::speech::Protocol;
use self::stamp::Stamp;
use self::tally::Run;
use self::target::Target;
use self::workload::Workload;
use super::speaker::channel;
use super::{Failure, client, output};
use crate::config::Config;
use crate::message::ChannelName;

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

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A server, as `ws://host:port` or `wss://host`; may be repeated [default: the one of the settings, on this machine]
    #[arg(long)]
    url: Vec<String>,

    /// What is spoken with the server
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    protocol: Protocol,

    /// The app of the Pusher protocol, where the settings have several
    #[arg(long, value_name = "KEY")]
    app_key: Option<String>,

    /// A file with the secret that tokens of the native protocol are signed with [default: auth.secret]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Connections in all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Channels, among which the connections are divided
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    channels: u32,

    /// What the channels are called: NAME-0, NAME-1, … [default: chat:bench, or private-bench for the Pusher protocol]
    #[arg(long, value_name = "NAME", value_parser = channel)]
    channel: Option<ChannelName>,

    /// Messages a second in all, by the clock [default: 100]
    #[arg(long, conflicts_with = "window", value_parser = positive)]
    rate: Option<f64>,

    /// Instead, so many messages on their way of each publisher, as fast as they come back
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: Option<u32>,

    /// Who publishes on each channel, in number [default: as many as `limits.messages_per_second`, or the app's
    /// `client_events_per_second`, asks for; 1 for --publish http]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    publishers: Option<u16>,

    /// Bytes of text in a message
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    payload: usize,

    /// New connections a second
    #[arg(long, default_value = "500", value_parser = positive)]
    ramp: f64,

    /// How long messages are sent before it is measured
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// How long it is measured
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// Who publishes
    #[arg(long, value_enum, default_value_t = Publish::Websocket)]
    publish: Publish,

    /// A source address; repeat it for more than 28,000 connections to one port of this machine: 127.0.0.1, 127.0.0.2, …
    #[arg(long, value_name = "ADDRESS")]
    source: Vec<IpAddr>,

    /// This share of the connections stops reading in the middle of the measurement; 0.1 is a tenth. 0 disturbs nobody,
    /// and shows how far the two halves differ anyway
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = DISTURBANCES)]
    slow: Option<f64>,

    /// This share of the connections is gone in the middle, without a word, and comes back at once
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = DISTURBANCES)]
    reconnect: Option<f64>,

    /// From the middle on so many more connections come every second, and go after a second
    #[arg(long, value_name = "N", value_parser = positive, help_heading = DISTURBANCES)]
    churn: Option<f64>,

    /// The process of a server on this machine: its CPU time and memory are reported
    #[arg(long)]
    pid: Option<u32>,

    /// Write the result as JSON; - prints it instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Publish {
    /// Connections: with the Pusher protocol, others than those that read, as client events
    Websocket,
    /// One publisher on redis.url, as Laravel does; with the native protocol
    Redis,
    /// The HTTP API, as Laravel does; with the Pusher protocol
    Http,
}

pub(super) fn run(mut config: Config, args: &Args) -> Result<(), Failure> {
    let mut progress = Progress::start();
    args.check()?;
    let limit = args.limit(&config)?;
    let disturbance = args.disturbance(limit)?;
    let connections =
        u64::from(args.connections) + args.speakers(limit) + disturbance.map_or(0, |plan| plan.besides());
    match machine::connections_possible() {
        Some(possible) if connections > possible => {
            return Err(Failure::Usage(format!(
                "this process may open {} connections at most, for {} are asked: raise its limit of open files (ulimit -Hn)",
                table::count(possible),
                table::count(connections),
            )));
        }
        Some(possible) => {
            progress.say(&format!("this process may open up to {} connections", table::count(possible)));
        }
        None => {}
    }
    if let Some(file) = &args.secret_file {
        take_secret(&mut config, file)?;
    }
    let threads = machine::cores();
    // With one core, a scheduler for several only costs.
    let mut runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(threads).enable_all().build().context("cannot start the runtime")?;
    let report = runtime.block_on(measure(&config, args, limit, disturbance, threads, &mut progress))?;
    progress.clear();
    write(&report, args)?;
    if report.faults.is_empty() { Ok(()) } else { Err(anyhow!(report.faults.join("; ")).into()) }
}

async fn measure(
    config: &Config,
    args: &Args,
    limit: u32,
    disturbance: Option<Disturbance>,
    threads: usize,
    progress: &mut Progress,
) -> Result<Report, Failure> {
    let urls = if args.url.is_empty() { vec![client::local_url(config)] } else { args.url.clone() };
    let mut targets = Vec::new();
    for url in &urls {
        targets.push(Arc::new(Target::resolve(url).await?));
    }
    let (channels, connections) = (args.channels as usize, args.connections as usize);
    let (speech, name) = (args.speech(config)?, args.channel()?);
    let work = Arc::new(Workload::new(&name, channels, connections, args.payload, speech)?);
    let run = Arc::new(Run::start(threads * 4, channels)?);
    let publishers = args.publishers(limit);
    let voice = args.voice(config, &targets, publishers, &run, &work)?;
    let sources = args.source.clone();
    let door = Arc::new(Door { run: run.clone(), work: work.clone(), targets, sources });
    let drive = Drive {
        run: run.clone(),
        work,
        door,
        ramp: args.ramp,
        pace: args.window.map_or_else(|| Pace::Rate(args.rate.unwrap_or(100.0)), Pace::Window),
        publishers,
        voice,
        disturbance,
        warmup: args.warmup,
        duration: args.duration,
        server: args.pid,
    };
    let load = audit::load(&drive, &urls);
    let seen = drive.drive(progress).await?;
    Ok(audit::report(load, &run, &seen)?)
}

fn take_secret(config: &mut Config, file: &std::path::Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("--secret-file {}: {error}", file.display())))?;
    let auth = &mut config.settings.server.auth;
    auth.secret = text.trim_end_matches(['\r', '\n']).into();
    if auth.algorithms.is_empty() {
        auth.algorithms.push("HS256".to_owned());
    }
    Ok(())
}

fn write(report: &Report, args: &Args) -> Result<(), Failure> {
    let Some(file) = &args.json else { return output::line(table::render(report).trim_end()) };
    let json = serde_json::to_string_pretty(report).context("cannot write JSON")?;
    if file.as_os_str() == "-" {
        return output::line(&json);
    }
    std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    output::line(table::render(report).trim_end())
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
