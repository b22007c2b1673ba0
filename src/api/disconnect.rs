use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::problem::Problems;
use super::published_message::User;
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};
use crate::message::{ChannelName, Signal, SocketId, UserId};
use crate::telemetry::logged;
use crate::transport::Accepted;

/// Which connections to close: those of a user, all on a channel, or one. `null` is an error, so that a missing value does not close
/// more than was meant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    /// The connections of this user: those of native channels, or with `app` those that are signed in to the app.
    #[serde(default, deserialize_with = "user")]
    #[schema(value_type = Option<User>)]
    user: Option<UserId>,
    /// All connections on this channel; with `user`, only those of the user.
    #[serde(default, deserialize_with = "text")]
    #[schema(example = "chat:room1")]
    channel: Option<String>,
    /// This connection.
    #[serde(default, deserialize_with = "text")]
    #[schema(example = "1234.5678")]
    connection: Option<String>,
    /// The ID of the app that the user or the channel belongs to. Without it, they are native.
    #[serde(default, deserialize_with = "text")]
    app: Option<String>,
}

/// Close connections
///
/// On all nodes. The response comes when the broker has accepted the request. Pages do not reconnect by themselves, but they can: to keep a
/// user out, revoke their tokens.
#[utoipa::path(
    post,
    path = "/disconnect",
    tag = "Connections",
    security(("key" = ["disconnect"])),
    request_body(content = Disconnect, example = json!({ "user": 7 })),
    responses((status = 200, description = "The broker has accepted the request: `{\"ok\":true}`. It does not say whether there was such a connection.", body = Object, example = json!({ "ok": true })), Problems)
)]
pub(super) async fn disconnect(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    ApiJson(request): ApiJson<Disconnect>,
) -> Result<Json<Accepted>, Problem> {
    let target = request.check(&state)?;
    target.log(caller.name());
    match target {
        Target::Signal(signal) => state.broker.publish_and_wait(signal.into()).await.map(drop)?,
        Target::SignedIn { app, user } => state.channels.terminate(&app, &user).await?,
    }
    Ok(Json(Accepted::new()))
}

/// The connections to close.
enum Target {
    Signal(Signal),
    SignedIn { app: Arc<str>, user: UserId },
}

impl Disconnect {
    fn check(self, state: &ApiState) -> Result<Target, Problem> {
        let Self { user, channel, connection, app } = self;
        let channel = channel.map(|name| ChannelName::new(&name)).transpose()?;
        let app = app.map(|id| state.app(&id)).transpose()?.map(|app| app.credentials.id().clone());
        let signal = match (user, channel, connection, app) {
            (Some(user), None, None, Some(app)) => return Ok(Target::SignedIn { app, user }),
            (Some(user), channel, None, None) => Signal::Disconnect { user, channel },
            (None, Some(channel), None, app) => Signal::DisconnectChannel { app, channel },
            (None, None, Some(connection), None) => {
                Signal::DisconnectConnection { connection: connection.parse::<SocketId>()? }
            }
            _ => {
                let detail = "give `user`, `user` and `channel`, `user` and `app`, `channel`, `channel` and `app`, or `connection`";
                return Err(Problem::invalid("invalid_request", detail));
            }
        };
        Ok(Target::Signal(signal))
    }
}

impl Target {
    fn log(&self, key: &str) {
        match self {
            Self::Signal(Signal::Disconnect { user, channel }) => {
                let channel = channel.as_ref().map(ChannelName::as_str);
                tracing::info!(key, user = logged(user.form()), channel, "API: closing connections");
            }
            Self::Signal(Signal::DisconnectChannel { app, channel }) => {
                tracing::info!(
                    key,
                    app = app.as_deref(),
                    channel = channel.as_str(),
                    "API: closing connections"
                );
            }
            Self::Signal(Signal::DisconnectConnection { connection }) => {
                tracing::info!(key, %connection, "API: closing connections");
            }
            // Not targets of this resource.
            Self::Signal(Signal::Revoke { .. } | Signal::Renew(_)) => {}
            Self::SignedIn { app, user } => {
                tracing::info!(key, app = &**app, user = logged(user.form()), "API: closing connections");
            }
        }
    }
}

fn user<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<UserId>, D::Error> {
    UserId::deserialize_bounded(deserializer).map(Some)
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}
