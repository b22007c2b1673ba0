use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::problem::Problems;
use super::published_message::User;
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};
use crate::message::{BeforeOutOfRange, InvalidRevocation, Revocation, RevokedTokens, UserId};
use crate::telemetry::logged;
use crate::tokens::RevokeError;
use crate::transport::Accepted;

/// Tokens of native channels that are taken back: all of a user, those of a user that were issued before a time, all that were issued
/// before a time, or one. `null` is an error, so that a missing value does not revoke more than was meant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationBody {
    /// The tokens of this user. Without `before`, also those that are issued later.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "user")]
    #[schema(value_type = Option<User>)]
    user: Option<UserId>,
    /// The tokens whose `iat` is before this Unix second, and those without one. A second after the year 9999 is an error.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(example = 1_700_000_000)]
    before: Option<u64>,
    /// The token with this `jti`, of 1 to 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    jti: Option<String>,
    /// The Unix second at which the revocation ends. The latest is 253402300799, the end of the year 9999; a greater number is taken
    /// for it. Without it, `auth.max_token_age` after the last of the tokens was issued.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    until: Option<u64>,
}

/// The revocations that are in force.
#[derive(Serialize, ToSchema)]
pub(super) struct Revocations {
    /// As they were requested, with their ends. Those that end first come first.
    revocations: Vec<RevocationBody>,
}

/// Revoke tokens
///
/// On all nodes. The connections concerned are closed with 4401, and the tokens are refused from now on, also by nodes that start
/// later. Without Redis, revocations end with the process. Repeating a revocation can make it longer. The response has its end.
#[utoipa::path(
    post,
    path = "/revocations",
    tag = "Tokens",
    security(("key" = ["revoke"])),
    request_body(content = RevocationBody, example = json!({ "user": 7 })),
    responses(
        (status = 200, body = RevocationBody, example = json!({ "user": 7, "until": 1_700_086_400 })),
        Problems,
        (status = 507, body = Problem, content_type = "application/problem+json", description = "There are too many revocations.")
    )
)]
pub(super) async fn revoke(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    ApiJson(request): ApiJson<RevocationBody>,
) -> Result<Json<RevocationBody>, Problem> {
    let requested = Revocation::try_from(request)?;
    requested.check()?;
    let Revocation { tokens, until } = requested;
    let revocation = state.revoker.revoke(tokens, until).await?;
    {
        let (user, before) = concerned(&revocation.tokens);
        tracing::info!(key = caller.name(), user, before, until = revocation.until, "API: tokens revoked");
    }
    Ok(Json(revocation.into()))
}

/// List revocations
///
/// Those in force.
#[utoipa::path(
    get,
    path = "/revocations",
    tag = "Tokens",
    security(("key" = ["revoke"])),
    responses((status = 200, body = Revocations), Problems)
)]
pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Revocations> {
    Json(Revocations { revocations: state.revoker.list().into_iter().map(RevocationBody::from).collect() })
}

/// Take a revocation back
///
/// On all nodes. The tokens are valid again. The body says what `POST` said, as the list shows it: one of a user with `before` is another
/// revocation than one without.
#[utoipa::path(
    delete,
    path = "/revocations",
    tag = "Tokens",
    security(("key" = ["revoke"])),
    request_body(content = RevocationBody, description = "The revocation, without `until`", example = json!({ "user": 7 })),
    responses(
        (status = 200, description = "It has been taken back: `{\"ok\":true}`.", body = Object, example = json!({ "ok": true })),
        Problems,
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such revocation.")
    )
)]
pub(super) async fn restore(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    ApiJson(request): ApiJson<RevocationBody>,
) -> Result<Json<Accepted>, Problem> {
    let Revocation { tokens, .. } = request.try_into()?;
    if !state.revoker.restore(tokens.clone()).await? {
        return Err(Problem::not_found("no_such_revocation", "there is no such revocation in force"));
    }
    let (user, before) = concerned(&tokens);
    tracing::info!(key = caller.name(), user, before, "API: revocation taken back");
    Ok(Json(Accepted::new()))
}

/// The user and the time of a revocation, for the log. Neither: it is of one token.
fn concerned(tokens: &RevokedTokens) -> (Option<Box<dyn tracing::Value + '_>>, Option<u64>) {
    let before = match tokens {
        RevokedTokens::IssuedBefore { before, .. } => Some(*before),
        RevokedTokens::User(_) | RevokedTokens::Jti(_) => None,
    };
    (tokens.user().map(|user| logged(user.form())), before)
}

impl TryFrom<RevocationBody> for Revocation {
    type Error = InvalidRevocation;

    fn try_from(body: RevocationBody) -> Result<Self, InvalidRevocation> {
        let RevocationBody { user, before, jti, until } = body;
        Ok(Self::new(RevokedTokens::new(user, jti.map(String::into_boxed_str), before)?, until))
    }
}

impl From<Revocation> for RevocationBody {
    fn from(Revocation { tokens, until }: Revocation) -> Self {
        let (user, before, jti) = match tokens {
            RevokedTokens::User(user) => (Some(user), None, None),
            RevokedTokens::Jti(jti) => (None, None, Some(jti.into())),
            RevokedTokens::IssuedBefore { before, user } => (user, Some(before), None),
        };
        Self { user, before, jti, until }
    }
}

impl From<InvalidRevocation> for Problem {
    fn from(error: InvalidRevocation) -> Self {
        Self::invalid("invalid_request", error.to_string())
    }
}

impl From<BeforeOutOfRange> for Problem {
    fn from(error: BeforeOutOfRange) -> Self {
        Self::invalid("invalid_request", error.to_string())
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Full(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too_many_revocations", error.to_string())
            }
            RevokeError::Store(_) | RevokeError::Publish(_) => {
                Self::unavailable(format!("{error}: send it again"))
            }
        }
    }
}

fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UserId>, D::Error> {
    UserId::deserialize_bounded(deserializer).map(Some)
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
