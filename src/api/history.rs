use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::listing::read_limit;
use super::problem::Problems;
use super::published_message::User;
use super::request::{ApiPath, ApiQuery, number};
use super::{ApiState, Problem};
use crate::history::{Content, Entry, Since};
use crate::message::{ChannelName, UserId, portable_json};

/// The number of messages of a page.
const MAX_MESSAGES: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// The ID of the app that the channel belongs to. Without it, the channel is native.
    app: Option<String>,
    /// A position, such as the `position` of the page before: the messages after it. Without it, the latest messages.
    since: Option<String>,
    /// 1 to 1000; 100 if it is missing.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Messages of a channel.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryPage {
    /// The oldest first.
    messages: Vec<StoredMessage>,
    /// Where to go on: every later message comes after it.
    #[schema(example = "9f3c20-17")]
    position: String,
    /// Whether newer messages are kept than these.
    more: bool,
    /// Whether messages after `since` may be missing, because they are not kept any more.
    gap: bool,
}

/// A message in the history of a channel.
#[derive(Serialize, ToSchema)]
pub(super) struct StoredMessage {
    /// Its position.
    #[schema(example = "9f3c20-17")]
    id: String,
    /// When it was stored: milliseconds since the Unix epoch.
    time: u64,
    /// Who it comes from. Only on a native channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<StoredSender>,
    /// The event of an app.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// On a native channel the object as it was published, and in an app the text that its subscribers receive.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
    /// The member that sent a client event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<User>)]
    user_id: Option<UserId>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StoredSender {
    #[schema(value_type = User)]
    id: UserId,
    name: String,
}

/// Read the history of a channel
///
/// The latest messages, or those after a position. The kind of the channel, or a rule of the app, needs a `history`.
#[utoipa::path(
    get,
    path = "/channels/{name}/history",
    tag = "Channels",
    security(("key" = ["read"])),
    params(("name" = String, Path, description = "The name of the channel", example = "chat:room1"), HistoryParams),
    responses(
        (status = 200, body = HistoryPage),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The channel has no history (`no_history`)"),
        Problems
    )
)]
pub(super) async fn history(
    State(state): State<Arc<ApiState>>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(params): ApiQuery<HistoryParams>,
) -> Result<Json<HistoryPage>, Problem> {
    let name = ChannelName::new(&name)?;
    let limit = read_limit(params.limit, MAX_MESSAGES)?;
    let since = params.since.map(|since| since.parse::<Since>()).transpose().map_err(|_| {
        Problem::bad_request(
            "invalid_query",
            "`since` must be a position of this channel, such as \"9f3c20-17\"",
        )
    })?;
    let channel = state.scoped(params.app.as_deref(), &name)?;
    if !state.channels.is_retained(&channel) {
        let detail =
            format!("{name} has no history: set `history` for its kind, or for the channels of its app");
        return Err(Problem::not_found("no_history", detail));
    }
    let page = state.channels.history_of(&channel, since, limit).await?;
    Ok(Json(HistoryPage {
        messages: page.entries.iter().filter_map(|entry| stored(entry)).collect(),
        position: page.position.to_string(),
        more: page.has_more,
        gap: page.is_gap,
    }))
}

fn stored(entry: &Entry) -> Option<StoredMessage> {
    let (id, time) = (entry.position.to_string(), entry.at);
    let raw = |text: String| RawValue::from_string(text).ok();
    Some(match &entry.content {
        Content::Native(event) => StoredMessage {
            id,
            time,
            sender: Some(StoredSender { id: event.sender.id.clone(), name: event.sender.name.to_string() }),
            event: None,
            data: raw(String::from_utf8_lossy(&portable_json(&event.data)).into_owned())?,
            user_id: None,
        },
        Content::App(event) => StoredMessage {
            id,
            time,
            sender: None,
            event: Some(event.event.clone()),
            data: raw(crate::message::json::quoted(&event.data))?,
            user_id: event.user_id.clone(),
        },
    })
}
