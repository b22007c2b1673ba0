use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ConsoleState;
use crate::message::{ChannelName, UserId};
use crate::transport::ApiError;
use crate::unix_time::unix_time;

const DEFAULT_TTL: u64 = 60 * 60;
const LONGEST_TTL: u64 = 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    name: String,
    channel: String,
    /// How long the token is valid, in seconds.
    #[serde(default = "default_ttl")]
    ttl: u64,
}

#[derive(Serialize)]
pub(super) struct TokenResponse {
    token: String,
    expires_in: u64,
}

/// `POST /console/token`: a token for any user on any channel.
pub(super) async fn create(
    State(state): State<ConsoleState>,
    request: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<Json<TokenResponse>, ApiError> {
    let Json(TokenRequest { id, name, channel, ttl }) = request?;
    let channel = ChannelName::new(&channel)?;
    if !(1..=LONGEST_TTL).contains(&ttl) {
        return Err(ApiError::invalid("ttl must be 1 to 86400 seconds"));
    }
    let token = state.issuer.issue(&id, &name, &channel, Duration::from_secs(ttl));
    Ok(Json(TokenResponse { token, expires_in: ttl }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenCheck {
    token: String,
}

/// `POST /console/token/check`: whether a connection with this token would be accepted, and if not, why.
///
/// A page cannot learn that from a handshake. The token is in the request body, which keeps it out of URLs and logs, and the
/// response never contains it.
pub(super) async fn check(
    State(state): State<ConsoleState>,
    check: Result<Json<TokenCheck>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(TokenCheck { token }) = check.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => rejection.into(),
        // The rejection's text may quote the body.
        _ => ApiError::invalid("the body must be a JSON object with the text `token`"),
    })?;
    let now = unix_time().as_secs();
    Ok(Json(match state.authenticator.verify(&token, now) {
        Ok(_) => json!({ "ok": true }),
        Err(refusal) => {
            json!({ "ok": false, "error": { "code": refusal.code(), "message": refusal.to_string() } })
        }
    }))
}

fn default_ttl() -> u64 {
    DEFAULT_TTL
}
