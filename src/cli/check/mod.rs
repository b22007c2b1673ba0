//! `yamabiko check`: a probe for monitoring systems such as Nagios, Icinga, Zabbix and Sensu.

mod finding;
mod probes;
mod report;

use std::time::Duration;

use anyhow::Context;

use super::http_client::{HttpClient, OperatorArgs, ServerUrl};
use super::{Failure, output};
use crate::config::Config;
use finding::{Finding, Health};

/// The exit code for wrong usage. What clap uses, 2, would mean that the server is in a critical state.
pub(super) const USAGE: u8 = Health::Unknown as u8;

const EXAMPLES: &str = "\
Examples:
  yamabiko check                                            the server on this machine
  yamabiko check --url http://10.0.3.7:8081
  yamabiko check --public-url wss://ws.example.com          also the proxy and its certificate
  yamabiko check --json | jq .status

It prints one line with performance data, and exits with 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN), as the
Monitoring Plugins do. Wrong usage is 3. It checks:

  server       the operators' port answers, and the server serves new connections; WARNING while it shuts down
  broker       messages can be published; with Redis, the subscription is in place
  connections  against limits.connections, or what the file descriptors leave room for
  lag          messages that the node has accepted and that wait for the broker (none without Redis)
  public       the address of --public-url answers
  certificate  the certificates of https:// and wss:// addresses are valid, and for how long

A key is only needed where /metrics is behind a proxy that asks for one: --key-file, or YAMABIKO_API_KEY.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    operator: OperatorArgs,

    /// The address that browsers use, such as `wss://ws.example.com`; may be repeated
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    public_url: Vec<ServerUrl>,

    /// Connections in percent of the limit, from which on it is a warning
    #[arg(long, value_name = "PERCENT", default_value_t = 80.0, value_parser = percent)]
    connections_warning: f64,

    /// The same for critical
    #[arg(long, value_name = "PERCENT", default_value_t = 95.0, value_parser = percent)]
    connections_critical: f64,

    /// Messages of this node that wait for Redis, from which on it is a warning
    #[arg(long, value_name = "MESSAGES", default_value_t = 1_000)]
    lag_warning: u32,

    /// The same for critical
    #[arg(long, value_name = "MESSAGES", default_value_t = 10_000)]
    lag_critical: u32,

    /// The life that a certificate has left, from which on it is a warning
    #[arg(long, value_name = "TIME", default_value = "21d", value_parser = humantime::parse_duration)]
    certificate_warning: Duration,

    /// The same for critical
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    certificate_critical: Duration,

    /// How long each request may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `config` is only read if no URL is given. The exit code is in the failure, if it is not 0.
pub(super) fn run(args: &Args, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let findings = findings(args, config).unwrap_or_else(|failure| {
        let text = failure.message().unwrap_or_default();
        vec![Finding::new("check", Health::Unknown, text.trim_start_matches("error: ").replace('\n', " "))]
    });
    output::line(&if args.json { report::json(&findings) } else { report::line(&findings) })?;
    match report::health(&findings) {
        Health::Ok => Ok(()),
        health => Err(Failure::Exit(health as u8)),
    }
}

fn findings(args: &Args, config: impl FnOnce() -> Result<Config, Failure>) -> Result<Vec<Finding>, Failure> {
    let operators = args.operator.client(config, args.timeout)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(async {
        let mut findings = probes::operators(&operators, args).await;
        for url in &args.public_url {
            let client = HttpClient::new(url.clone(), None, args.timeout);
            findings.extend(probes::public(&client, args).await);
        }
        findings
    }))
}

fn percent(text: &str) -> Result<f64, String> {
    text.trim_end_matches('%')
        .parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "must be a number from 0 to 100".to_owned())
}
