use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::span_counts::SpanCounts;
use super::span_record::SpanRecord;

/// Maximum spans that wait for the collector.
const MAX_SPANS: usize = 4096;

/// The spans that wait for the collector. Adding one never waits. Cloning shares the queue.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue {
    sender: Sender<SpanRecord>,
    counts: Arc<SpanCounts>,
}

impl SpanQueue {
    /// Returns the queue, and what takes spans out of it.
    pub(super) fn new(counts: Arc<SpanCounts>) -> (Self, Receiver<SpanRecord>) {
        let (sender, spans) = channel(MAX_SPANS);
        (Self { sender, counts }, spans)
    }

    pub(super) fn push(&self, span: SpanRecord) {
        self.counts.on_ended(&span);
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.counts.on_overflow(),
            // The exporter sends what ended before the shutdown.
            Err(TrySendError::Closed(_)) => self.counts.on_dropped("shutdown", 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::super::span_durations::SpanDurations;
    use super::super::span_record::SpanKind;
    use super::*;
    use crate::telemetry::Reason;
    use crate::trace_context::TraceContext;

    #[test]
    fn the_queue_is_bounded_and_every_span_is_counted() {
        let (sent, dropped) = (Counter::default(), Family::<Reason, Counter>::default());
        let counts = Arc::new(SpanCounts::new(sent.clone(), dropped.clone(), SpanDurations::default()));
        let (queue, mut spans) = SpanQueue::new(counts.clone());
        let push = || queue.push(SpanRecord::new(SpanKind::Server, "a", TraceContext::root(), None, 7));
        let count = |reason| dropped.get_or_create(&Reason::new(reason)).get();
        for _ in 0..MAX_SPANS + 3 {
            push();
        }
        assert_eq!((count("queue_full"), counts.take_overflowed(), counts.take_overflowed()), (3, 3, 0));
        assert_eq!(spans.try_recv().unwrap().name, "a");
        counts.on_sent(1);
        spans.close();
        push();
        assert_eq!(count("shutdown"), 1);
        assert_eq!((counts.drop_pending(), counts.drop_pending()), (MAX_SPANS as u64 - 1, 0));
        assert_eq!((sent.get(), count("shutdown")), (1, MAX_SPANS as u64));
    }
}
