use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::signals::{Hangup, shutdown_signal};
use super::{Failure, descriptors};
use crate::config::{Config, Key};
use crate::telemetry::LogFormat;
use crate::{server, telemetry};

/// After the server has drained, what still hangs is left behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves until a signal asks for the end.
pub(super) fn run(config: Config, hangup: Hangup) -> Result<(), Failure> {
    let ended = serve(config, hangup);
    if telemetry::flush_logs() {
        return ended;
    }
    // Nobody reads standard error: another word there would never be written, and the process would not end.
    ended.map_err(|_| Failure::Told)
}

fn serve(config: Config, hangup: Hangup) -> Result<(), Failure> {
    telemetry::init_logs(&config.settings.log)
        .map_err(|error| Failure::Usage(format!("{}: {error}", Key::new("log", "level"))))?;
    for warning in &config.warnings {
        tracing::warn!(setting = warning.key, origin = warning.origin, "{}", warning.message);
    }
    let connections = config.settings.server.limits.connections as u64;
    if let Some(files) = descriptors::raise(connections)
        && connections > files
    {
        tracing::warn!(
            connections,
            files,
            "limits.connections is more than this process may open files (LimitNOFILE, ulimit -n)"
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
    runtime.shutdown_timeout(PATIENCE);
    telemetry::log_suppressed_lines();
    match ended {
        Err(error) if config.settings.log.format == LogFormat::Json => {
            // What reads the log reads nothing else.
            tracing::error!("{error:#}");
            Err(Failure::Told)
        }
        ended => Ok(ended?),
    }
}
