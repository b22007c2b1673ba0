use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::guard::RequestTrace;
use super::problem::Problems;
use super::published_message::{Checked, Message};
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};
use crate::broker::PublishError;
use crate::message::{Dispatch, Position, Publication};
use crate::telemetry::{Span, SpanKind};
use crate::trace_context::TraceContext;

/// The message has been accepted. If the channel has a history, it is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Published {
    ok: bool,
    /// The position of the message in the history of its channel. Only for one channel that has a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f3c20-17")]
    position: Option<String>,
    /// The keys of `data` that are not delivered, because the `fields` of the channel's kind do not list them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!([]))]
    omitted: Vec<String>,
}

/// Publish a message
///
/// On a native channel, or on the channels of an app. The response comes when the broker has accepted the message.
#[utoipa::path(
    post,
    path = "/publish",
    tag = "Publishing",
    security(("key" = ["publish"])),
    request_body(content = Message, example = json!({ "channel": "chat:room1", "data": { "message": "hello" } })),
    responses((status = 200, body = Published), Problems)
)]
pub(super) async fn publish(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Extension(RequestTrace(trace)): Extension<RequestTrace>,
    ApiJson(message): ApiJson<Box<RawValue>>,
) -> Result<Json<Published>, Problem> {
    let message = Checked::read(&message, &state)?;
    tracing::debug!(key = caller.name(), channel = message.channel(), "publishing over the API");
    Ok(Json(send(message, &state, trace).await?))
}

/// Queues a message at once. The future waits until the broker has accepted it.
pub(super) fn send(
    message: Checked,
    state: &ApiState,
    trace: Option<TraceContext>,
) -> impl Future<Output = Result<Published, PublishError>> + Send + use<> {
    let (accepted, omitted) = match message {
        Checked::Native { mut publication, omitted } => {
            let span = trace_native(&mut publication, state, trace);
            (Accepted::Native(state.broker.publish_and_wait(publication), span), omitted)
        }
        Checked::App { mut event, idempotency_key } => {
            event.trace = trace.map(Box::new);
            let is_single = event.channels.len() == 1;
            let accepted = state.channels.broadcast(&event, idempotency_key.as_deref());
            (Accepted::App(accepted, is_single), Vec::new())
        }
    };
    async move {
        let position = match accepted {
            Accepted::Native(accepted, span) => {
                let accepted = accepted.await;
                Span::end(span, accepted.as_ref().err());
                accepted?
            }
            Accepted::App(accepted, is_single) => accepted.await?.filter(|_| is_single),
        };
        Ok(Published { ok: true, position: position.as_ref().map(Position::to_string), omitted })
    }
}

/// Makes a native message a part of the trace of its request. Returns the span of its publication.
fn trace_native(
    publication: &mut Publication,
    state: &ApiState,
    trace: Option<TraceContext>,
) -> Option<Span> {
    let Dispatch::Event(event) = &mut publication.dispatch else { return None };
    let tracer = state.context.metrics.tracer();
    let mut span = tracer.child(SpanKind::Producer, "publish", trace.as_ref())?;
    state.native.with_kind(&event.channel, |kind| span.set("yamabiko.kind", kind));
    span.set_channel(event.channel.as_str());
    event.trace = Some(Box::new(span.context()));
    Some(span)
}

/// The two ways to publish.
enum Accepted<N, A> {
    Native(N, Option<Span>),
    App(A, bool),
}
