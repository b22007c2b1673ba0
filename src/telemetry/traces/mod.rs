//! Traces: spans of what happens to a message or a request, sent to a collector in OTLP.
//!
//! Nothing is recorded, and nothing sent, while `tracing.endpoint` is empty. Spans have names of routes, kinds and channels, never tokens,
//! secrets or the contents of messages.

mod collector;
mod exporter;
mod otlp;
mod otlp_messages;
mod settings;
mod span;
mod span_counts;
mod span_durations;
mod span_queue;
mod span_record;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::labels::Reason;
use crate::trace_context::TraceContext;

use collector::Collector;
use exporter::Exporter;
use span_counts::SpanCounts;
use span_queue::SpanQueue;

pub use settings::TracingSettings;
pub use span::Span;
pub(super) use span_durations::SpanDurations;
pub use span_record::SpanKind;

/// Starts spans, if traces are on.
#[derive(Debug, Default)]
pub struct Tracer(Option<ActiveTracer>);

#[derive(Debug)]
struct ActiveTracer {
    queue: SpanQueue,
    counts: Arc<SpanCounts>,
    /// See [`TracingSettings::sample`].
    sample: f64,
    end: watch::Sender<bool>,
    /// `None`: it was finished.
    exporter: Mutex<Option<JoinHandle<()>>>,
}

impl Tracer {
    /// Starts the task that sends spans, if the settings name a collector. `node` is this node in the spans. Needs a tokio runtime, if so.
    #[must_use]
    pub(super) fn start(
        settings: &TracingSettings,
        node: &str,
        sent: Counter,
        dropped: Family<Reason, Counter>,
        durations: SpanDurations,
    ) -> Self {
        // Loading the settings has checked it.
        let Some(Ok(target)) = settings.target() else { return Self::default() };
        let counts = Arc::new(SpanCounts::new(sent, dropped, durations));
        let (queue, spans) = SpanQueue::new(counts.clone());
        let end = watch::Sender::new(false);
        let exporter = Exporter::new(Collector::new(target), node, counts.clone(), end.subscribe());
        let exporter = Mutex::new(Some(tokio::spawn(exporter.run(spans))));
        Self(Some(ActiveTracer { queue, counts, sample: settings.sample, end, exporter }))
    }

    /// One that starts none.
    pub(super) const fn off() -> Self {
        Self(None)
    }

    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span of a trace that is recorded. `None`: nothing is, or the trace is not.
    #[must_use]
    pub fn child(&self, kind: SpanKind, name: &str, parent: Option<&TraceContext>) -> Option<Span> {
        let ActiveTracer { queue, .. } = self.0.as_ref()?;
        let parent = *parent.filter(|parent| parent.is_sampled)?;
        Some(Span::new(queue.clone(), kind, name, parent.child(), Some(parent)))
    }

    /// The first span of a new trace, if this is among the sample.
    #[must_use]
    pub fn root(&self, kind: SpanKind, name: &str) -> Option<Span> {
        let ActiveTracer { queue, sample, .. } = self.0.as_ref()?;
        (rand::random::<f64>() < *sample)
            .then(|| Span::new(queue.clone(), kind, name, TraceContext::root(), None))
    }

    /// A span that continues a trace, if there is one, and may begin one otherwise.
    #[must_use]
    pub fn span(&self, kind: SpanKind, name: &str, parent: Option<&TraceContext>) -> Option<Span> {
        match parent {
            Some(_) => self.child(kind, name, parent),
            None => self.root(kind, name),
        }
    }

    /// The span of a request whose header `traceparent` has this value.
    #[must_use]
    pub fn request(&self, name: &str, traceparent: Option<&[u8]>) -> Option<Span> {
        self.0.as_ref()?;
        let parent = traceparent.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        self.span(SpanKind::Server, name, parent.as_ref())
    }

    /// Sends what is queued, at the end. What the collector has not taken `within` this time is dropped.
    pub async fn finish(&self, within: Duration) {
        let Some(tracer) = &self.0 else { return };
        let exporter = tracer.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(exporter) = exporter else { return };
        let stop = exporter.abort_handle();
        tracer.end.send_replace(true);
        if timeout(within, exporter).await.is_ok() {
            return;
        }
        stop.abort();
        let left = tracer.counts.drop_pending();
        tracing::warn!(spans = left, reason = "shutdown", "spans dropped: not sent before the shutdown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(sample: f64) -> Tracer {
        let (end, counts) = (watch::Sender::new(false), Arc::<SpanCounts>::default());
        let (queue, _) = SpanQueue::new(counts.clone());
        Tracer(Some(ActiveTracer { queue, counts, sample, end, exporter: Mutex::new(None) }))
    }

    #[test]
    fn a_trace_is_followed_as_its_flag_says_and_others_begin_by_chance() {
        let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        for sample in [0.0, 1.0] {
            let tracer = tracer(sample);
            let followed = tracer.request("a", Some(sampled.as_bytes())).unwrap().context();
            assert_eq!(hex::encode(followed.trace_id()), "0af7651916cd43dd8448eb211c80319c");
            assert_ne!(hex::encode(followed.span_id()), "b7ad6b7169203331");
            assert!(tracer.request("a", Some(unsampled.as_bytes())).is_none());
            for none in [None, Some(&b"nonsense"[..]), Some(b"\xff")] {
                assert_eq!(tracer.request("a", none).is_some(), sample > 0.5, "{none:?}");
            }
            assert!(tracer.child(SpanKind::Client, "a", None).is_none());
        }
        let tracer = tracer(0.25);
        let begun = (0..4000).filter(|_| tracer.root(SpanKind::Client, "a").is_some()).count();
        assert!((700..1300).contains(&begun), "{begun}");
        assert!(Tracer::off().request("a", Some(sampled.as_bytes())).is_none());
    }
}
