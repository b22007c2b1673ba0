use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;

use super::state::AdminState;
use crate::message::{ChannelName, Signal, UserId};
use crate::transport::{Accepted, ApiError};

/// A misspelt `channel` must not close all of a user's connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    user: UserId,
    channel: Option<String>,
}

/// `POST /disconnect`: closes a user's connections on all nodes. 200 when the broker has accepted it.
pub(super) async fn disconnect<L>(
    State(state): State<AdminState<L>>,
    removal: Result<Json<Removal>, JsonRejection>,
) -> Result<Json<Accepted>, ApiError> {
    let Json(Removal { user, channel }) = removal?;
    let channel = channel.map(|name| ChannelName::new(&name)).transpose()?;
    state
        .broker
        .publish_and_wait(Signal::Disconnect { user, channel }.into())
        .await
        .map_err(|refused| ApiError::unavailable(refused.to_string()))?;
    Ok(Json(Accepted::new()))
}
