use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::settings_source::SettingsSource;
use super::signals::{Hangup, shutdown_signal};
use super::{Failure, rlimit};
use crate::config::{self, AuthKeys, Config, Key};
use crate::server::{ChangedSettings, ReadSettings, Reloads};
use crate::telemetry::LogFormat;
use crate::{server, telemetry};

/// How long to wait for blocking tasks once the server has drained.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves until a signal requests the shutdown. SIGHUP reads the settings again.
pub(super) fn run_reloadable(config: Config, source: SettingsSource) -> Result<(), Failure> {
    let (hangups, requests) = mpsc::unbounded_channel();
    let read = read_settings(config.clone(), source);
    run_with(config, Hangup::Reload(hangups), Some(Reloads { read, requests }))
}

/// Serves with these settings until a signal requests the shutdown.
pub(super) fn run(config: Config, hangup: Hangup) -> Result<(), Failure> {
    run_with(config, hangup, None)
}

fn run_with(config: Config, hangup: Hangup, reloads: Option<Reloads>) -> Result<(), Failure> {
    let ended = serve(config, hangup, reloads);
    if telemetry::flush_logs() {
        return ended;
    }
    // Standard error is not read: printing the failure would block the process.
    ended.map_err(|_| Failure::Logged)
}

/// Reads the settings again. `log.level` is taken over with the others.
fn read_settings(started: Config, source: SettingsSource) -> ReadSettings {
    let current = Arc::new(Mutex::new(started.clone()));
    Box::new(move || {
        let config = source.load(AuthKeys::Required).map_err(|problems| problems.lines())?;
        let since_last = config::changes(&current.lock().unwrap_or_else(PoisonError::into_inner), &config);
        let since_start = config::changes(&started, &config);
        let settings = config.settings.server.clone();
        let current = current.clone();
        let on_taken_over = Box::new(move || {
            // Loading the settings has checked it.
            let _ = telemetry::set_log_level(&config.settings.log.level);
            log_warnings(&config);
            *current.lock().unwrap_or_else(PoisonError::into_inner) = config;
        });
        Ok(ChangedSettings { settings, since_last, since_start, on_taken_over })
    })
}

fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(setting = warning.key, origin = warning.origin, "{}", warning.message);
    }
}

fn serve(config: Config, hangup: Hangup, reloads: Option<Reloads>) -> Result<(), Failure> {
    telemetry::init_logs(&config.settings.log)
        .map_err(|error| Failure::Usage(format!("{}: {error}", Key::new("log", "level"))))?;
    log_warnings(&config);
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
        server::run(config.settings.server, reloads, shutdown).await
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
