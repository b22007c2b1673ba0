use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::Problems;
use super::published_message::{Checked, Message};
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};
use crate::broker::PublishError;
use crate::message::Position;

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
    ApiJson(message): ApiJson<Box<RawValue>>,
) -> Result<Json<Published>, Problem> {
    let message = Checked::read(&message, &state)?;
    tracing::debug!(key = caller.name(), channel = message.channel(), "publishing over the API");
    Ok(Json(send(message, &state).await?))
}

/// Queues a message at once. The future waits until the broker has accepted it.
pub(super) fn send(
    message: Checked,
    state: &ApiState,
) -> impl Future<Output = Result<Published, PublishError>> + Send + use<> {
    let (accepted, omitted) = match message {
        Checked::Native { publication, omitted } => {
            (Accepted::Native(state.broker.publish_and_wait(publication)), omitted)
        }
        Checked::App { event, idempotency_key } => {
            let is_single = event.channels.len() == 1;
            let accepted = state.channels.broadcast(&event, idempotency_key.as_deref());
            (Accepted::App(accepted, is_single), Vec::new())
        }
    };
    async move {
        let position = match accepted {
            Accepted::Native(accepted) => accepted.await?,
            Accepted::App(accepted, is_single) => accepted.await?.filter(|_| is_single),
        };
        Ok(Published { ok: true, position: position.as_ref().map(Position::to_string), omitted })
    }
}

/// The two ways to publish.
enum Accepted<N, A> {
    Native(N),
    App(A, bool),
}
