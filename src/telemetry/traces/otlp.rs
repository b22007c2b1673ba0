use prost::Message as _;

use super::otlp_messages::{
    AnyValue, AttributeValue, ExportRequest, ExportResponse, InstrumentationScope, KeyValue, Link, Resource,
    ResourceSpans, ScopeSpans, Span, Status,
};
use super::span_record::SpanRecord;
use crate::trace_context::TraceContext;

const NAME: &str = "yamabiko";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The code of the status of a span that has failed.
const ERROR: i32 = 2;

/// The body of a request with these spans of a node.
pub(super) fn encode_request(node: &str, spans: Vec<SpanRecord>) -> Vec<u8> {
    let attributes = [("service.name", NAME), ("service.version", VERSION), ("service.instance.id", node)]
        .map(|(name, text)| attribute((name, AttributeValue::Text(text.to_owned()))));
    let scope = InstrumentationScope { name: NAME.to_owned(), version: VERSION.to_owned() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: spans.into_iter().map(span).collect() };
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes: attributes.into() }),
        scope_spans: vec![scope_spans],
    };
    ExportRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// How many spans the collector has rejected, of those in a request that it has otherwise taken.
pub(super) fn rejected_spans(response: &[u8]) -> u64 {
    let rejected = ExportResponse::decode(response).ok().and_then(|response| response.partial_success);
    rejected.and_then(|rejected| u64::try_from(rejected.rejected_spans).ok()).unwrap_or_default()
}

fn span(record: SpanRecord) -> Span {
    let status = |error| Status { message: error, code: ERROR };
    Span {
        trace_id: record.context.trace_id().into(),
        span_id: record.context.span_id().into(),
        parent_span_id: record.parent.map(|parent| parent.span_id().into()).unwrap_or_default(),
        name: record.name,
        kind: record.kind as i32,
        start_time_unix_nano: record.start,
        end_time_unix_nano: record.end,
        attributes: record.attributes.into_iter().map(attribute).collect(),
        links: record.links.iter().map(link).collect(),
        status: record.error.map(status),
    }
}

fn link(to: &TraceContext) -> Link {
    Link { trace_id: to.trace_id().into(), span_id: to.span_id().into() }
}

fn attribute((key, value): (&'static str, AttributeValue)) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::SpanKind;

    /// Written field by field, with the tags of the specification.
    #[test]
    fn golden_request() {
        let parent: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let context = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01".parse().unwrap();
        let start = 1_764_126_400_000_000_000;
        let record = SpanRecord {
            end: start + 1_500_000,
            attributes: vec![("a", AttributeValue::Text("山".to_owned())), ("b", AttributeValue::Number(7))],
            links: vec![parent],
            error: Some("refused".to_owned()),
            ..SpanRecord::new(SpanKind::Producer, "publish", context, Some(parent), start)
        };
        assert_eq!(hex::encode(span(record).encode_to_vec()), GOLDEN);
        let whole = encode_request("n", vec![SpanRecord::new(SpanKind::Client, "a", context, None, start)]);
        let request = ExportRequest::decode(&whole[..]).unwrap();
        let [of_node] = &request.resource_spans[..] else { panic!("{request:?}") };
        let names = of_node.resource.as_ref().unwrap().attributes.iter().map(|attribute| &*attribute.key);
        assert!(names.eq(["service.name", "service.version", "service.instance.id"]));
        assert!(of_node.scope_spans[0].spans[0].parent_span_id.is_empty());
    }

    const GOLDEN: &str = concat!(
        "0a100af7651916cd43dd8448eb211c80319c120800f067aa0ba902b72208b7ad6b71692033312a077075626c697368300439",
        "0080e3329d6f7b18416063fa329d6f7b184a0a0a016112050a03e5b1b14a070a0162120218076a1c0a100af7651916cd43dd",
        "8448eb211c80319c1208b7ad6b71692033317a0b1207726566757365641802",
    );

    #[test]
    fn rejected_spans_are_read_from_the_response() {
        for (response, rejected) in [
            (&b""[..], 0),
            (b"{}", 0),
            (b"\x0a\x00", 0),
            (b"\x0a\x07\x08\x07\x12\x03old", 7),
            (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0),
        ] {
            assert_eq!(rejected_spans(response), rejected, "{response:?}");
        }
    }
}
