use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::listing::{next_cursor, read_cursor, read_limit};
use super::problem::Problems;
use super::published_message::User;
use super::request::{ApiPath, ApiQuery, number};
use super::{ApiState, Problem};
use crate::message::{ChannelName, Member, UserId};
use crate::protocol::native::PRESENCE_APP;

/// The most members of a list.
const MAX_LIMIT: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MembersParams {
    /// The ID of the app that the channel belongs to. Without it, the channel is native.
    app: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// 1 to 1000; 100 if it is missing.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The members of a channel.
#[derive(Serialize, ToSchema)]
pub(super) struct MemberList {
    /// By their IDs as text, as many as `limit` says.
    members: Vec<MemberEntry>,
    /// The number of all members.
    count: usize,
    /// The `cursor` of the next page. It is missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A member of a presence channel, or a user on a native channel.
#[derive(Serialize, ToSchema)]
pub(super) struct MemberEntry {
    #[schema(value_type = User)]
    id: UserId,
    /// What the application says about the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    info: Option<Box<RawValue>>,
}

/// List the members of a channel
///
/// Of a presence channel of an app, or of a native channel whose kind has `presence` or of whose users the application wants events. Other
/// channels have none.
#[utoipa::path(
    get,
    path = "/channels/{name}/members",
    tag = "Channels",
    security(("key" = ["read"])),
    params(("name" = String, Path, description = "The name of the channel", example = "chat:room1"), MembersParams),
    responses((status = 200, body = MemberList), Problems)
)]
pub(super) async fn members(
    State(state): State<Arc<ApiState>>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(params): ApiQuery<MembersParams>,
) -> Result<Json<MemberList>, Problem> {
    let name = ChannelName::new(&name)?;
    let limit = read_limit(params.limit, MAX_LIMIT)?;
    let after = read_cursor(params.cursor.as_deref())?;
    let members = match &params.app {
        Some(app) => state.channels.users(state.app(app)?.credentials.id(), &name),
        None => state.channels.users(PRESENCE_APP, &name),
    };
    let count = members.len();
    let entry = |Member { user_id, user_info }| MemberEntry {
        id: user_id,
        info: user_info.and_then(|info| RawValue::from_string(info.to_string()).ok()),
    };
    let mut rest = members.into_iter().skip_while(|member| *member.user_id.to_text() <= *after);
    let page: Vec<Member> = rest.by_ref().take(limit).collect();
    let last = page.last().filter(|_| rest.next().is_some());
    let next = last.map(|member| next_cursor(&member.user_id.to_text()));
    Ok(Json(MemberList { members: page.into_iter().map(entry).collect(), count, next }))
}
