use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::collector::{Collector, ExportError};
use super::otlp::encode_request;
use super::span_counts::SpanCounts;
use super::span_record::SpanRecord;

/// Maximum spans in one request.
const MAX_BATCH: usize = 512;

/// Spans that end within this time go into one request.
const GATHER: Duration = Duration::from_millis(500);

/// How often a request is made before its spans are dropped. Meanwhile, the queue fills.
const ATTEMPTS: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Sends spans to the collector, one request at a time.
pub(super) struct Exporter {
    collector: Collector,
    node: String,
    counts: Arc<SpanCounts>,
    /// The node shuts down: what is queued is sent without a pause.
    end: watch::Receiver<bool>,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        node: &str,
        counts: Arc<SpanCounts>,
        end: watch::Receiver<bool>,
    ) -> Self {
        Self { collector, node: node.to_owned(), counts, end }
    }

    /// Runs until the node shuts down and everything was sent.
    pub(super) async fn run(mut self, mut spans: mpsc::Receiver<SpanRecord>) {
        let mut batch = Vec::new();
        loop {
            self.gather(&mut spans, &mut batch).await;
            if batch.is_empty() {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
            let overflowed = self.counts.take_overflowed();
            if overflowed > 0 {
                tracing::warn!(
                    spans = overflowed,
                    reason = "queue_full",
                    "spans dropped: more than the collector takes"
                );
            }
        }
    }

    /// Waits for spans. Adds none if the node shuts down and there are no more.
    async fn gather(&mut self, spans: &mut mpsc::Receiver<SpanRecord>, batch: &mut Vec<SpanRecord>) {
        tokio::select! {
            biased;
            _ = self.end.wait_for(|ending| *ending) => {}
            _ = spans.recv_many(batch, MAX_BATCH) => {}
        }
        let until = Instant::now() + GATHER;
        while batch.len() < MAX_BATCH {
            let left = MAX_BATCH - batch.len();
            let more = tokio::select! {
                biased;
                _ = self.end.wait_for(|ending| *ending) => break,
                more = timeout_at(until, spans.recv_many(batch, left)) => more,
            };
            if !more.is_ok_and(|count| count > 0) {
                break;
            }
        }
        if *self.end.borrow() {
            // What ends from now on is dropped.
            spans.close();
            while batch.len() < MAX_BATCH
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanRecord>) {
        let (spans, body) = (batch.len() as u64, Bytes::from(encode_request(&self.node, batch)));
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let ending = *self.end.borrow();
            let error = match self.collector.send(body.clone()).await {
                Ok(rejected) => return self.on_taken(spans, rejected.min(spans)),
                Err(error) => error,
            };
            if !error.may_retry || attempt == ATTEMPTS || ending {
                return self.on_failed(spans, &error);
            }
            tokio::select! {
                () = sleep(error.retry_after.unwrap_or(pause)) => {}
                _ = self.end.wait_for(|ending| *ending) => {}
            }
            pause *= 2;
        }
    }

    fn on_taken(&self, spans: u64, rejected: u64) {
        self.counts.on_sent(spans - rejected);
        if rejected > 0 {
            self.counts.on_dropped("rejected", rejected);
            let host = self.collector.host();
            tracing::warn!(
                host,
                spans = rejected,
                reason = "rejected",
                "spans dropped: the collector rejected them"
            );
        }
    }

    fn on_failed(&self, spans: u64, error: &ExportError) {
        let ExportError { reason, failure, .. } = error;
        self.counts.on_dropped(error.reason, spans);
        let host = self.collector.host();
        tracing::warn!(host, failure, spans, reason, "spans dropped: the collector did not take them");
    }
}
