use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::ConsoleState;
use crate::http::answer::Failure;
use crate::message::{ChannelName, UserId};

const DEFAULT_TTL: u64 = 60 * 60;
const LONGEST_TTL: u64 = 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    id: UserId,
    name: String,
    channel: String,
    /// How long the token is valid, in seconds.
    #[serde(default = "default_ttl")]
    ttl: u64,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    expires_in: u64,
}

/// `POST /console/token`: a token for any user on any channel.
pub(super) async fn create(
    State(state): State<ConsoleState>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Token>, Failure> {
    let Json(Wanted { id, name, channel, ttl }) = wanted?;
    let channel = ChannelName::new(&channel)?;
    if !(1..=LONGEST_TTL).contains(&ttl) {
        return Err(Failure::invalid("ttl must be 1 to 86400 seconds"));
    }
    let token = state.minter.mint(&id, &name, &channel, Duration::from_secs(ttl));
    Ok(Json(Token { token, expires_in: ttl }))
}

fn default_ttl() -> u64 {
    DEFAULT_TTL
}
