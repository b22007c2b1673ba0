use super::otlp_messages::AttributeValue;
use crate::trace_context::TraceContext;

/// What a span is in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that the node answers.
    Server = 2,
    /// A request that the node makes.
    Client = 3,
    /// A message on its way to the broker.
    Producer = 4,
    /// A message on its way from the broker.
    Consumer = 5,
}

/// A span as it is sent.
#[derive(Debug)]
pub(super) struct SpanRecord {
    pub(super) context: TraceContext,
    pub(super) parent: Option<TraceContext>,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    /// In nanoseconds since the Unix epoch.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// Further spans from which this one follows.
    pub(super) links: Vec<TraceContext>,
    /// Why it has failed.
    pub(super) error: Option<String>,
}

impl SpanRecord {
    /// A span that takes no time.
    pub(super) fn new(
        kind: SpanKind,
        name: &str,
        context: TraceContext,
        parent: Option<TraceContext>,
        start: u64,
    ) -> Self {
        Self {
            context,
            parent,
            kind,
            name: name.to_owned(),
            start,
            end: start,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }
}
