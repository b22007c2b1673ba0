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

/// `POST /console/echo`: the key of the app that the page shows; null if there is none.
pub(super) async fn key(State(state): State<ConsoleState>) -> Json<Key> {
    Json(Key { key: state.app.map(|app| app.credentials.key().to_string()) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthRequest {
    socket_id: String,
    channel: String,
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    name: String,
}

/// The response that pusher-js expects from an authorization endpoint.
#[derive(Serialize)]
pub(super) struct AuthResponse {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
}

/// `POST /console/echo/auth`: authorizes any user for any channel, in place of the application's `/broadcasting/auth`.
pub(super) async fn authorize(
    State(state): State<ConsoleState>,
    request: Result<Json<AuthRequest>, JsonRejection>,
) -> Result<Json<AuthResponse>, ApiError> {
    let Json(AuthRequest { socket_id, channel, id, name }) = request?;
    let app = state.app.ok_or_else(|| ApiError::invalid("there is no app: add one under [[apps]]"))?;
    // The signed text is joined by colons, so that its parts must not contain any.
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
    Ok(Json(AuthResponse { auth, channel_data }))
}
