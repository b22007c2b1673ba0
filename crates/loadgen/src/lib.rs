//! A load generator for one's own deployment, and for others to compare it with: what is behind `yamabiko bench`.
//!
//! It is a client like any other, and knows nothing of the server's code.

mod apart;
mod api;
mod audit;
mod connection;
mod deployment;
mod disturb;
mod door;
mod drive;
mod error;
mod frames;
mod machine;
mod options;
mod outcome;
mod pacer;
mod plan;
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

use std::sync::Arc;

use anyhow::Context;

pub use self::deployment::{App, Credentials, Deployment, MintToken, RedisTopic};
use self::disturb::Disturbance;
use self::door::Door;
use self::drive::{Drive, Pace};
pub use self::error::BenchError;
pub use self::options::{Options, Publish};
use self::progress::Progress;
pub use self::report::Report;
pub use self::speech::Protocol;
use self::tally::Run;
use self::target::Target;
use self::workload::Workload;

/// Puts the load on the deployment and reports what came of it. `open_files` is this process's limit, if it has one.
pub fn run(options: &Options, deployment: Deployment, open_files: Option<u64>) -> Result<Report, BenchError> {
    let mut progress = Progress::start();
    options.check()?;
    let limit = deployment.messages_per_second;
    let disturbance = options.disturbance(limit)?;
    let connections = u64::from(options.connections)
        + options.speakers(limit)
        + disturbance.map_or(0, |plan| plan.besides());
    match open_files.map(machine::connections_possible) {
        Some(possible) if connections > possible => {
            return Err(BenchError::Usage(format!(
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
    let threads = machine::cores();
    // With one core, a scheduler for several only costs.
    let mut runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(threads).enable_all().build().context("cannot start the runtime")?;
    let report = runtime.block_on(measure(options, deployment, disturbance, threads, &mut progress))?;
    progress.clear();
    Ok(report)
}

async fn measure(
    options: &Options,
    deployment: Deployment,
    disturbance: Option<Disturbance>,
    threads: usize,
    progress: &mut Progress,
) -> Result<Report, BenchError> {
    let urls = if options.url.is_empty() { vec![deployment.url] } else { options.url.clone() };
    let mut targets = Vec::new();
    for url in &urls {
        targets.push(Arc::new(Target::resolve(url).await?));
    }
    let (channels, connections) = (options.channels as usize, options.connections as usize);
    let speech = deployment.credentials.into();
    let work =
        Arc::new(Workload::new(options.channel_name(), channels, connections, options.payload, speech));
    let run = Arc::new(Run::start(threads * 4, channels)?);
    let publishers = options.publishers(deployment.messages_per_second);
    let voice = options.voice(deployment.redis.as_ref(), &targets, publishers, &run, &work)?;
    let sources = options.source.clone();
    let door = Arc::new(Door { run: run.clone(), work: work.clone(), targets, sources });
    let drive = Drive {
        run: run.clone(),
        work,
        door,
        ramp: options.ramp,
        pace: options.window.map_or_else(|| Pace::Rate(options.rate.unwrap_or(100.0)), Pace::Window),
        publishers,
        voice,
        disturbance,
        warmup: options.warmup,
        duration: options.duration,
        server: options.pid,
    };
    let load = audit::load(&drive, &urls);
    let seen = drive.drive(progress).await?;
    Ok(audit::report(load, &run, &seen)?)
}
