use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::span_durations::SpanDurations;
use super::span_record::SpanRecord;
use crate::telemetry::Reason;

/// What has become of spans.
#[derive(Debug, Default)]
pub(super) struct SpanCounts {
    sent: Counter,
    dropped: Family<Reason, Counter>,
    durations: SpanDurations,
    /// Those that are neither sent nor dropped.
    pending: AtomicU64,
    /// Those for which there was no room since this was last asked for.
    overflowed: AtomicU64,
}

impl SpanCounts {
    /// Counts in these metrics.
    pub(super) fn new(sent: Counter, dropped: Family<Reason, Counter>, durations: SpanDurations) -> Self {
        Self { sent, dropped, durations, ..Self::default() }
    }

    pub(super) fn on_ended(&self, span: &SpanRecord) {
        self.durations.observe(span);
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        self.on_dropped("queue_full", 1);
    }

    pub(super) fn on_sent(&self, spans: u64) {
        self.sent.inc_by(spans);
        self.pending.fetch_sub(spans, Ordering::Relaxed);
    }

    pub(super) fn on_dropped(&self, reason: &'static str, spans: u64) {
        self.dropped.get_or_create(&Reason::new(reason)).inc_by(spans);
        self.pending.fetch_sub(spans, Ordering::Relaxed);
    }

    /// How many spans there was no room for since the last call.
    pub(super) fn take_overflowed(&self) -> u64 {
        self.overflowed.swap(0, Ordering::Relaxed)
    }

    /// Counts what is left at the end as dropped. Returns how many there are.
    pub(super) fn drop_pending(&self) -> u64 {
        let left = self.pending.load(Ordering::Relaxed);
        self.on_dropped("shutdown", left);
        left
    }
}
