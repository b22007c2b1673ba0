use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::signals::{Hangup, shutdown_signal};
use super::{Failure, rlimit};
use crate::config::{Config, Key};
use crate::telemetry::LogFormat;
use crate::{server, telemetry};

/// How long to wait for blocking tasks once the server has drained.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves until a signal requests the shutdown.
pub(super) fn run(config: Config, hangup: Hangup) -> Result<(), Failure> {
    let ended = serve(config, hangup);
    if telemetry::flush_logs() {
        return ended;
    }
    // Standard error is not read: printing the failure would block the process.
    ended.map_err(|_| Failure::Logged)
}

fn serve(config: Config, hangup: Hangup) -> Result<(), Failure> {
    telemetry::init_logs(&config.settings.log)
        .map_err(|error| Failure::Usage(format!("{}: {error}", Key::new("log", "level"))))?;
    for warning in &config.warnings {
        tracing::warn!(setting = warning.key, origin = warning.origin, "{}", warning.message);
    }
    let connections = config.settings.server.limits.connections as u64;
    if let Some(files) = rlimit::raise_open_files(connections)
        && connections > files
    {
        tracing::warn!(
            connections,
            files,
            "limits.connections exceeds the limit of open files: raise it (LimitNOFILE, ulimit -n)"
        );
    }
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = shutdown_signal(hangup).context("cannot listen for signals")?;
        server::run(config.settings.server, shutdown).await
    });
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    telemetry::log_suppressed_lines();
    match ended {
        Err(error) if config.settings.log.format == LogFormat::Json => {
            // A log collector does not read plain text.
            tracing::error!("{error:#}");
            Err(Failure::Logged)
        }
        ended => Ok(ended?),
    }
}
