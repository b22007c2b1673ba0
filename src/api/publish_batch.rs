use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use futures_util::future::{Either, join_all, ready};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::guard::RequestTrace;
use super::problem::Problems;
use super::publish::{Published, send};
use super::published_message::{Checked, Message};
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};

/// Messages in a batch.
const MAX_MESSAGES: usize = 1000;

/// Messages to publish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Published in this order.
    #[schema(value_type = Vec<Message>, min_items = 1, max_items = 1000)]
    messages: Vec<Box<RawValue>>,
}

/// The result of each message.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchResults {
    /// How many were not published.
    failed: usize,
    /// In the order of the messages.
    results: Vec<BatchResult>,
}

/// The message was published, or why it was not.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchResult {
    Published(Published),
    Problem(Problem),
}

/// Publish many messages
///
/// In their order, and each on its own: one that is rejected does not affect the others, so look at `failed`.
#[utoipa::path(
    post,
    path = "/publish/batch",
    tag = "Publishing",
    security(("key" = ["publish"])),
    request_body(content = Batch, example = json!({ "messages": [
        { "channel": "chat:room1", "data": { "message": "hello" } },
        { "channel": "chat:room1", "data": { "message": "only for you" }, "to": 7 },
    ] })),
    responses((status = 200, body = BatchResults), Problems)
)]
pub(super) async fn publish_batch(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Extension(RequestTrace(trace)): Extension<RequestTrace>,
    ApiJson(Batch { messages }): ApiJson<Batch>,
) -> Result<Json<BatchResults>, Problem> {
    if !(1..=MAX_MESSAGES).contains(&messages.len()) {
        let detail = format!("a batch has 1 to {MAX_MESSAGES} messages, not {}", messages.len());
        return Err(Problem::invalid("invalid_batch", detail));
    }
    tracing::debug!(key = caller.name(), messages = messages.len(), "publishing a batch over the API");
    // All are queued before the first receipt is awaited, so that a batch costs one round trip.
    let sent: Vec<_> = messages
        .iter()
        .map(|message| match Checked::read(message, &state) {
            Ok(message) => Either::Left(send(message, &state, trace)),
            Err(problem) => Either::Right(ready(problem)),
        })
        .collect();
    let results = join_all(sent.into_iter().map(|sent| async move {
        match sent {
            Either::Left(accepted) => {
                accepted.await.map_or_else(|error| BatchResult::Problem(error.into()), BatchResult::Published)
            }
            Either::Right(problem) => BatchResult::Problem(problem.await),
        }
    }))
    .await;
    let failed = results.iter().filter(|result| matches!(result, BatchResult::Problem(_))).count();
    Ok(Json(BatchResults { failed, results }))
}
