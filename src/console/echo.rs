use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ConsoleState;
use crate::message::{SocketId, UserId};
use crate::protocol::pusher::Channel;
use crate::transport::ApiError;

#[derive(Serialize)]
pub(super) struct Key {
    key: Option<String>,
}

/// `POST /console/echo`: the key that pages of the app connect with; null if there is no app.
pub(super) async fn key(State(state): State<ConsoleState>) -> Json<Key> {
    Json(Key { key: state.app.map(|app| app.credentials.key().to_string()) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    socket_id: String,
    channel: String,
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    name: String,
}

/// What pusher-js expects of an authorization endpoint.
#[derive(Serialize)]
pub(super) struct Permit {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
}

/// `POST /console/echo/auth`: lets any user onto any channel, as `/broadcasting/auth` of an application would some.
pub(super) async fn authorize(
    State(state): State<ConsoleState>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Permit>, ApiError> {
    let Json(Wanted { socket_id, channel, id, name }) = wanted?;
    let app = state.app.ok_or_else(|| ApiError::invalid("there is no app: add one under [[apps]]"))?;
    // Joined by colons, what is signed must not be readable in two ways.
    let socket_id: SocketId =
        socket_id.parse().map_err(|_| ApiError::invalid("socket_id must be two numbers joined by a dot"))?;
    let channel = Channel::new(&channel, app.rules.channel_name_length)
        .map_err(|error| ApiError::invalid(&format!("channel: {error}")))?;
    let channel_data =
        channel.is_presence().then(|| json!({ "user_id": id, "user_info": { "name": name } }).to_string());
    let auth = app.credentials.sign_channel(
        &socket_id.to_string(),
        channel.name().as_str(),
        channel_data.as_deref(),
    );
    Ok(Json(Permit { auth, channel_data }))
}
