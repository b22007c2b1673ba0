//! The load generator behind `yamabiko bench`.
//!
//! It is a client like any other and does not depend on the server's code, so that it can also measure other servers.

mod aggregate;
mod chaos;
mod checks;
mod connection;
mod connector;
mod counters;
mod deployment;
mod disturbed_stats;
mod error;
mod frames;
mod histogram;
mod http_api;
mod options;
mod outcome;
mod pacer;
mod plan;
mod progress;
mod protocol;
mod publisher;
mod publishers;
mod redis_publisher;
mod report;
mod resources;
mod run;
mod runner;
mod sequence_tracker;
mod stamp;
mod table;
mod target;
mod workload;

use std::sync::Arc;

use anyhow::Context;

use self::chaos::ChaosPlan;
use self::connector::Connector;
pub use self::deployment::{AppSigner, Credentials, Deployment, MintToken, RedisTopic};
pub use self::error::BenchError;
pub use self::options::{Options, PublishVia};
use self::progress::Progress;
pub use self::protocol::Protocol;
pub use self::report::Report;
use self::run::Run;
use self::runner::{Pace, Runner};
use self::target::Target;
use self::workload::Workload;

/// Runs the benchmark and returns its report. `open_files` is the limit of this process, if there is one.
pub fn run(options: &Options, deployment: Deployment, open_files: Option<u64>) -> Result<Report, BenchError> {
    let mut progress = Progress::start();
    options.check()?;
    let limit = deployment.messages_per_second;
    let chaos = options.chaos(limit)?;
    let connections = u64::from(options.connections)
        + options.publish_only_connections(limit)
        + chaos.map_or(0, |plan| plan.extra_connections());
    match open_files.map(resources::max_connections) {
        Some(possible) if connections > possible => {
            return Err(BenchError::Usage(format!(
                "{} connections requested, but this process may open only {}: raise the limit of open files (ulimit -Hn)",
                table::count(connections),
                table::count(possible),
            )));
        }
        Some(possible) => {
            progress.log(&format!("this process may open up to {} connections", table::count(possible)));
        }
        None => {}
    }
    let threads = resources::cores();
    // A multi-threaded scheduler has a cost and, on one core, no benefit.
    let mut runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(threads).enable_all().build().context("cannot start the runtime")?;
    let report = runtime.block_on(measure(options, deployment, chaos, threads, &mut progress))?;
    progress.clear();
    Ok(report)
}

async fn measure(
    options: &Options,
    deployment: Deployment,
    chaos: Option<ChaosPlan>,
    threads: usize,
    progress: &mut Progress,
) -> Result<Report, BenchError> {
    let urls = if options.url.is_empty() { vec![deployment.url] } else { options.url.clone() };
    let mut targets = Vec::new();
    for url in &urls {
        targets.push(Arc::new(Target::resolve(url).await?));
    }
    let (channels, connections) = (options.channels as usize, options.connections as usize);
    let protocol = deployment.credentials.into();
    let work =
        Arc::new(Workload::new(options.channel_name(), channels, connections, options.payload, protocol));
    let run = Arc::new(Run::start(threads * 4, channels)?);
    let publishers_per_channel = options.publishers_per_channel(deployment.messages_per_second);
    let redis = deployment.redis.as_ref();
    let publishers = options.publishers(redis, &targets, publishers_per_channel, &run, &work)?;
    let sources = options.source.clone();
    let connector = Arc::new(Connector { run: run.clone(), work: work.clone(), targets, sources });
    let runner = Runner {
        run: run.clone(),
        work,
        connector,
        ramp: options.ramp,
        pace: options.window.map_or_else(|| Pace::Rate(options.rate.unwrap_or(100.0)), Pace::Window),
        publishers_per_channel,
        publishers,
        chaos,
        warmup: options.warmup,
        duration: options.duration,
        server: options.pid,
    };
    let load = aggregate::load(&runner, &urls);
    let result = runner.run(progress).await?;
    Ok(aggregate::report(load, &run, &result)?)
}
