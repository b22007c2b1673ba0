use std::fmt;
use std::mem::take;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::otlp_messages::AttributeValue;
use super::span_queue::SpanQueue;
use super::span_record::{SpanKind, SpanRecord};
use crate::trace_context::TraceContext;

/// A step of a trace that takes time. It ends when it is dropped. As small as a pointer, because what measures a message has room for one.
#[derive(Debug)]
pub struct Span(Box<OpenSpan>);

#[derive(Debug)]
struct OpenSpan {
    queue: SpanQueue,
    began: Instant,
    record: SpanRecord,
}

impl Span {
    pub(super) fn new(
        queue: SpanQueue,
        kind: SpanKind,
        name: &str,
        context: TraceContext,
        parent: Option<TraceContext>,
    ) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let start = u64::try_from(start).unwrap_or_default();
        let record = SpanRecord::new(kind, name, context, parent, start);
        Self(Box::new(OpenSpan { queue, began: Instant::now(), record }))
    }

    /// What follows from this span.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.0.record.context
    }

    /// Adds a text. It must not be a secret, or the contents of a message.
    pub fn set(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.record.attributes.push((name, AttributeValue::Text(text.into())));
    }

    pub fn set_number(&mut self, name: &'static str, number: impl TryInto<i64>) {
        self.0.record.attributes.push((name, AttributeValue::Number(number.try_into().unwrap_or(i64::MAX))));
    }

    /// The channel of a message.
    pub fn set_channel(&mut self, channel: &str) {
        self.set("messaging.system", "yamabiko");
        self.set("messaging.destination.name", channel);
    }

    /// The span follows from these as well.
    pub fn link(&mut self, contexts: &[TraceContext]) {
        self.0.record.links.extend_from_slice(contexts);
    }

    /// Ends the span of something that may have failed.
    pub fn end(span: Option<Self>, error: Option<impl fmt::Display>) {
        if let (Some(mut span), Some(error)) = (span, error) {
            span.fail(error.to_string());
        }
    }

    /// The span has failed. The reason must not be a secret.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.0.record.error = Some(reason.into());
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let record = &mut self.record;
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.queue.push(SpanRecord {
            name: take(&mut record.name),
            attributes: take(&mut record.attributes),
            links: take(&mut record.links),
            error: record.error.take(),
            end: record.start.saturating_add(took),
            ..*record
        });
    }
}
