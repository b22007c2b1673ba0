use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::{Registry, Unit};

use super::span_record::SpanRecord;
use crate::telemetry::latency_metrics::SECONDS;

/// The steps of a message, whose series are there from the start. Those of requests begin with the first one.
const STEPS: [&str; 4] = ["deliver", "gate", "publish", "webhook"];

/// How long spans have taken, by name. Each bucket has an exemplar: the trace of its newest span.
#[derive(Debug, Clone)]
pub(in crate::telemetry) struct SpanDurations(Family<SpanName, HistogramWithExemplars<TraceId>, WithSeconds>);

/// The name of a span: a step of a message, or the route of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanName {
    span: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceId {
    trace_id: String,
}

#[derive(Debug, Clone, Copy)]
struct WithSeconds;

impl MetricConstructor<HistogramWithExemplars<TraceId>> for WithSeconds {
    fn new_metric(&self) -> HistogramWithExemplars<TraceId> {
        HistogramWithExemplars::new(SECONDS.into_iter())
    }
}

impl SpanDurations {
    pub(in crate::telemetry) fn new(registry: &mut Registry) -> Self {
        let durations = Self::default();
        let help = "How long the steps of traces took, by span, with a trace for each bucket";
        registry.register_with_unit("span_duration", help, Unit::Seconds, durations.0.clone());
        for span in STEPS {
            drop(durations.0.get_or_create(&SpanName { span: span.to_owned() }));
        }
        durations
    }

    pub(super) fn observe(&self, span: &SpanRecord) {
        let seconds = Duration::from_nanos(span.end.saturating_sub(span.start)).as_secs_f64();
        let trace = TraceId { trace_id: hex::encode(span.context.trace_id()) };
        let name = SpanName { span: span.name.clone() };
        self.0.get_or_create(&name).observe(seconds, Some(trace), Some(SystemTime::now()));
    }
}

impl Default for SpanDurations {
    fn default() -> Self {
        Self(Family::new_with_constructor(WithSeconds))
    }
}
