//! Signals that a server reacts to.

use std::future::Future;
use std::process;

use tokio::sync::mpsc;

use crate::telemetry;

/// The effect of SIGHUP, which service managers send to reload settings, and a closing terminal sends as well.
#[derive(Debug)]
pub(super) enum Hangup {
    /// Log it.
    Log,
    /// Request that the settings are read again.
    Reload(mpsc::UnboundedSender<()>),
    /// Shut down.
    ShutDown,
}

/// Resolves at the first SIGTERM, SIGINT or SIGQUIT. A second one ends the process at once. Signals that other servers
/// react to are logged and ignored.
#[cfg(unix)]
pub(super) fn shutdown_signal(hangup: Hangup) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    struct ShutdownSignals {
        terminate: Signal,
        interrupt: Signal,
        quit: Signal,
        hangup: Option<Signal>,
    }

    impl ShutdownSignals {
        async fn recv(&mut self) {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
                _ = hangup => {}
            }
        }
    }

    const SETTINGS: &str = "settings are read at startup: restart to apply changes";
    const NOTHING: &str = "it has no function in Yamabiko";
    let hangs_up = matches!(hangup, Hangup::ShutDown);
    let mut signals = ShutdownSignals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        quit: signal(SignalKind::quit())?,
        hangup: hangs_up.then(|| signal(SignalKind::hangup())).transpose()?,
    };
    let ignored = [
        ("SIGHUP", SignalKind::hangup(), SETTINGS),
        ("SIGUSR1", SignalKind::user_defined1(), NOTHING),
        ("SIGUSR2", SignalKind::user_defined2(), NOTHING),
    ];
    let reloads = if let Hangup::Reload(reloads) = hangup { Some(reloads) } else { None };
    if let Some(reloads) = reloads.clone() {
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            // Sending fails when the server has ended.
            while hangup.recv().await.is_some() && reloads.send(()).is_ok() {}
        });
    }
    for (name, kind, hint) in ignored.into_iter().skip(usize::from(hangs_up || reloads.is_some())) {
        let mut signal = signal(kind)?;
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                tracing::info!(signal = name, hint, "signal ignored");
            }
        });
    }
    Ok(async move {
        signals.recv().await;
        tokio::spawn(async move {
            signals.recv().await;
            tracing::warn!("second signal received, exiting immediately");
            telemetry::flush_logs();
            process::exit(1);
        });
    })
}

/// Resolves at SIGTERM, SIGINT, SIGQUIT or SIGHUP.
#[cfg(unix)]
pub(super) async fn any_end() {
    use tokio::signal::unix::{SignalKind, signal};

    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup()];
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::poll_fn(|context| {
        let is_over = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub(super) async fn any_end() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Resolves at the first Ctrl-C. A second one ends the process at once.
#[cfg(not(unix))]
pub(super) fn shutdown_signal(_: Hangup) -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            tracing::warn!("second Ctrl-C received, exiting immediately");
            telemetry::flush_logs();
            process::exit(1);
        });
    })
}
