//! What signals do to a server.

use std::future::Future;
use std::process;

use crate::telemetry;

/// What the end of the terminal (SIGHUP) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangup {
    /// It is logged. Daemons are sent SIGHUP so that they read their settings anew, and must not end of it.
    Log,
    /// It shuts the server down.
    ShutDown,
}

/// Resolves at the first signal that asks for the end: SIGTERM, SIGINT or SIGQUIT. The second one ends the process at
/// once. Signals that mean something else to other servers are logged and change nothing.
#[cfg(unix)]
pub(super) fn shutdown_signal(hangup: Hangup) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    struct Ending {
        terminate: Signal,
        interrupt: Signal,
        quit: Signal,
        hangup: Option<Signal>,
    }

    impl Ending {
        async fn asked(&mut self) {
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

    const SETTINGS: &str = "settings are read at the start: restart to apply a change";
    const NOTHING: &str = "it has no meaning here";
    let hangs_up = hangup == Hangup::ShutDown;
    let mut ending = Ending {
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
    for (name, kind, hint) in ignored.into_iter().skip(usize::from(hangs_up)) {
        let mut signal = signal(kind)?;
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                tracing::info!(signal = name, hint, "signal ignored");
            }
        });
    }
    Ok(async move {
        ending.asked().await;
        tokio::spawn(async move {
            ending.asked().await;
            tracing::warn!("a second signal: ending at once");
            telemetry::flush_logs();
            process::exit(1);
        });
    })
}

/// Resolves at the first Ctrl-C. The second one ends the process at once.
#[cfg(not(unix))]
pub(super) fn shutdown_signal(_: Hangup) -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            tracing::warn!("a second Ctrl-C: ending at once");
            telemetry::flush_logs();
            process::exit(1);
        });
    })
}
