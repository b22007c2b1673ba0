use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::telemetry::Metrics;

/// How long a request is retried before its events are dropped.
const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How the node shuts down, once it does.
pub(super) type End = watch::Receiver<Option<Ending>>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) deadline: Instant,
    /// Other nodes deliver what is queued in Redis.
    pub(super) is_handed_over: bool,
}

/// What has become of a request.
#[derive(Debug)]
pub(super) enum RetryOutcome {
    Accepted,
    /// Its events are too old. With the last failure.
    GivenUp(String),
    /// The node shuts down, and another one repeats it.
    HandedOver,
}

/// Repeats a request until it is accepted or its events are too old. `hands_over`: or until the node shuts down and leaves it to others.
///
/// `app` and `host` name the webhook.
pub(super) async fn retry<A>(
    (app, host): (Option<&str>, &str),
    metrics: &Metrics,
    mut end: End,
    hands_over: impl Fn() -> bool,
    attempt: impl Fn() -> A,
) -> RetryOutcome
where
    A: Future<Output = Result<(), String>>,
{
    let late = Instant::now() + RETRY_FOR;
    let mut pause = FIRST_PAUSE;
    end.mark_unchanged();
    loop {
        let Err(failure) = attempt().await else {
            metrics.webhooks_sent.inc();
            return RetryOutcome::Accepted;
        };
        metrics.webhooks_failed.inc();
        if Instant::now() + pause >= late {
            return RetryOutcome::GivenUp(failure);
        }
        if hands_over() && end.borrow().is_some_and(|ending| ending.is_handed_over) {
            return RetryOutcome::HandedOver;
        }
        tracing::info!(app, host, failure, retry_in = ?pause, "webhook failed, retrying");
        // Jitter, so that nodes that fail together do not retry together.
        let spread = pause.mul_f64(rand::random_range(0.75..1.25));
        tokio::select! {
            () = sleep(spread) => pause = (pause * 2).min(LONGEST_PAUSE),
            // The deadline leaves no time for long pauses.
            Ok(()) = end.changed() => pause = FIRST_PAUSE,
        }
    }
}
