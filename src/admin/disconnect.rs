use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;

use super::state::AdminState;
use crate::message::{ChannelName, Signal, UserId};
use crate::transport::{Accepted, ApiError};

/// Unknown fields are rejected: a misspelt `channel` must not close all of a user's connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    user: UserId,
    channel: Option<String>,
}

/// `POST /disconnect`: closes a user's connections on all nodes. 200: the broker has accepted the request.
pub(super) async fn disconnect<L>(
    State(state): State<AdminState<L>>,
    request: Result<Json<DisconnectRequest>, JsonRejection>,
) -> Result<Json<Accepted>, ApiError> {
    let Json(DisconnectRequest { user, channel }) = request?;
    let channel = channel.map(|name| ChannelName::new(&name)).transpose()?;
    state
        .broker
        .publish_and_wait(Signal::Disconnect { user, channel }.into())
        .await
        .map_err(|refused| ApiError::unavailable(refused.to_string()))?;
    Ok(Json(Accepted::new()))
}
