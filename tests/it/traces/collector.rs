//! A collector: takes OTLP over HTTP, and refuses whatever it does not know.

use std::sync::{Arc, Mutex};

use prost::{Message, Oneof};
use serde_json::{Map, Value};

use crate::support::application::{Answer, Asked, application};
use crate::support::eventually;

/// A span as it was received.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: it is the first of its trace.
    pub(super) parent: String,
    pub(super) kind: i32,
    pub(super) attributes: Value,
    pub(super) error: Option<String>,
    pub(super) node: String,
}

/// What the collector has received.
pub(super) struct Collector {
    port: u16,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    bodies: String,
    broken: Vec<String>,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self::answering(|| Some((200, String::new())))
    }

    /// Answers with what `answer` returns, or closes the connection. Takes the spans that it answers with 200.
    pub(super) fn answering(answer: impl Fn() -> Option<Answer> + Send + Sync + 'static) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = received.clone();
        let port = application(move |asked| {
            let parsed = parse(&asked);
            let answer = answer();
            let mut received = shared.lock().unwrap();
            received.bodies.push_str(&asked.body);
            match parsed {
                Err(error) => received.broken.push(format!("{error}: {} {}", asked.head, asked.body)),
                Ok(spans) if answer.as_ref().is_some_and(|(status, _)| *status == 200) => {
                    received.spans.extend(spans);
                }
                Ok(_) => {}
            }
            answer
        });
        Self { port, received }
    }

    /// The settings that send spans here.
    pub(super) fn settings(&self, sample: u8) -> String {
        format!("[tracing]\nendpoint = \"http://127.0.0.1:{}\"\nsample = {sample}\n", self.port)
    }

    /// Waits for spans of these names of a trace. Returns them in the order of the names.
    pub(super) fn expect<const N: usize>(&self, trace: &str, names: [&str; N]) -> [Span; N] {
        let of_trace = || self.spans().into_iter().filter(|span| span.trace == trace).collect::<Vec<_>>();
        eventually(&format!("{names:?} of {trace} of {:#?}", self.spans()), || of_trace().len() >= N);
        let mut spans = of_trace();
        spans.sort_by_key(|span| names.iter().position(|name| *name == span.name));
        assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), names, "{spans:#?}");
        spans.try_into().unwrap()
    }

    /// All spans so far. Each request was valid.
    pub(super) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        assert!(received.broken.is_empty(), "{:#?}", received.broken);
        received.spans.clone()
    }

    /// The text of all requests.
    pub(super) fn bodies(&self) -> String {
        self.received.lock().unwrap().bodies.clone()
    }
}

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, required, tag = "1")]
    resource: Resource,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, required, tag = "1")]
    scope: Scope,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SentSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, required, tag = "2")]
    value: AnyValue,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "OneValue", tags = "1, 3")]
    value: Option<OneValue>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OneValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

#[derive(Clone, PartialEq, Message)]
struct SentSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

fn parse(asked: &Asked) -> Result<Vec<Span>, String> {
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    check(asked.head.starts_with("post /v1/traces http/1.1\r\n"), "the request line")?;
    check(asked.header("content-type") == Some("application/x-protobuf"), "the content type")?;
    let request = ExportTraceServiceRequest::decode(&asked.bytes[..]).map_err(|error| error.to_string())?;
    // Fields that these messages do not have would be missing.
    check(request.encode_to_vec() == asked.bytes, "unknown fields")?;
    let mut spans = Vec::new();
    for ResourceSpans { resource, scope_spans } in request.resource_spans {
        let resource = attributes(resource.attributes)?;
        check(resource["service.name"] == "yamabiko", "the service")?;
        let node = resource["service.instance.id"].as_str().ok_or("no node")?.to_owned();
        for ScopeSpans { scope, spans: sent } in scope_spans {
            check(scope.name == "yamabiko" && !scope.version.is_empty(), "the scope")?;
            for span in sent {
                check(is_valid(&span), &format!("{span:?}"))?;
                let status = span.status.unwrap_or_default();
                spans.push(Span {
                    name: span.name,
                    trace: hex::encode(span.trace_id),
                    id: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    kind: span.kind,
                    attributes: attributes(span.attributes)?,
                    error: (status.code == 2).then_some(status.message),
                    node: node.clone(),
                });
            }
        }
    }
    check(!spans.is_empty(), "no spans")?;
    Ok(spans)
}

fn is_valid(span: &SentSpan) -> bool {
    let is_id = |id: &[u8], bytes: usize| id.len() == bytes && id.iter().any(|byte| *byte != 0);
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    is_id(&span.trace_id, 16)
        && is_id(&span.span_id, 8)
        && (span.parent_span_id.is_empty() || is_id(&span.parent_span_id, 8))
        && span.links.iter().all(|link| is_id(&link.trace_id, 16) && is_id(&link.span_id, 8))
        && (2..=5).contains(&span.kind)
        && span.status.as_ref().is_none_or(|status| (0..=2).contains(&status.code))
        && !span.name.is_empty()
        && (1_700_000_000_000_000_000..=end).contains(&start)
}

fn attributes(list: Vec<KeyValue>) -> Result<Value, String> {
    let mut attributes = Map::new();
    for KeyValue { key, value } in list {
        let value = match value.value.ok_or("no value")? {
            OneValue::Text(text) => Value::from(text),
            OneValue::Number(number) => Value::from(number),
        };
        if attributes.insert(key.clone(), value).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    Ok(Value::Object(attributes))
}
