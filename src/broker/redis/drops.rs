use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::{Metrics, Reason};

/// Lines written at once; what follows is summed up.
const LINES: u32 = 5;
const SUM_UP_EVERY: Duration = Duration::from_secs(1);

/// Tells of dropped messages: the metric counts each, the log does not drown in them.
#[derive(Debug, Default)]
pub(super) struct Drops {
    written: u32,
    silent: u64,
    /// Since when nothing was written.
    since: Option<Instant>,
}

impl Drops {
    pub(super) fn add(&mut self, reason: &'static str, metrics: &Metrics) {
        metrics.broker_dropped.get_or_create(&Reason::new(reason)).inc();
        if self.written < LINES {
            self.written += 1;
            tracing::warn!(reason, "dropped a message from Redis");
            return;
        }
        self.silent += 1;
        let now = Instant::now();
        if now.duration_since(*self.since.get_or_insert(now)) >= SUM_UP_EVERY {
            self.flush();
        }
    }

    /// Sums up what was not written since the last time. To be called now and then in quiet times.
    pub(super) fn flush(&mut self) {
        if self.silent > 0 {
            tracing::warn!(count = self.silent, "dropped more messages from Redis");
            self.silent = 0;
        } else {
            self.written = 0;
        }
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_summed_up_once_a_second() {
        let (mut drops, metrics) = (Drops::default(), Metrics::new());
        for _ in 0..1000 {
            drops.add("invalid_json", &metrics);
        }
        assert_eq!((drops.written, drops.silent), (LINES, 1000 - u64::from(LINES)));
        tokio::time::advance(SUM_UP_EVERY).await;
        drops.add("invalid_json", &metrics);
        assert_eq!((drops.written, drops.silent), (LINES, 0));
        drops.flush();
        assert_eq!(drops.written, 0);
        assert_eq!(metrics.broker_dropped.get_or_create(&Reason::new("invalid_json")).get(), 1001);
    }
}
