use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::labels::Reason;
use super::traces::{SpanDurations, Tracer, TracingSettings};

/// The tracer, and the metrics of its spans, part of [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub(super) struct TraceMetrics {
    /// Spans that the collector has taken.
    pub(super) spans_sent: Counter,
    /// Spans that were not sent, or not taken, by reason.
    pub(super) spans_dropped: Family<Reason, Counter>,
    span_durations: SpanDurations,
    /// Empty until traces are started.
    tracer: OnceLock<Tracer>,
}

impl TraceMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self { span_durations: SpanDurations::new(registry), ..Self::default() };
        registry.register(
            "spans_sent",
            "Spans that the collector of traces has taken",
            metrics.spans_sent.clone(),
        );
        registry.register(
            "spans_dropped",
            "Spans that were dropped, by reason",
            metrics.spans_dropped.clone(),
        );
        metrics
    }

    pub(super) fn start(&self, settings: &TracingSettings, node: &str) {
        self.tracer.get_or_init(|| {
            let (sent, dropped) = (self.spans_sent.clone(), self.spans_dropped.clone());
            Tracer::start(settings, node, sent, dropped, self.span_durations.clone())
        });
    }

    pub(super) fn tracer(&self) -> &Tracer {
        static OFF: Tracer = Tracer::off();
        self.tracer.get().unwrap_or(&OFF)
    }
}
