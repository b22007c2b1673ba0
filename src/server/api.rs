//! Mounts the API on the ports.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;

use super::Settings;
use crate::admin::AdminHosts;
use crate::api::{self, Access, Api, ApiKeys, ApiState, Problem, Scope, Tails};
use crate::broker::Broker;
use crate::channels::Channels;
use crate::hub::Hub;
use crate::message::Sender;
use crate::protocol::native::Native;
use crate::protocol::pusher::Apps;
use crate::tokens::Revoker;
use crate::transport::{ApiError, EndpointContext};

/// What the API works with.
#[expect(clippy::too_many_arguments, reason = "each is a room that the API works with")]
pub(super) fn api_state(
    settings: &Settings,
    broker: &Arc<Broker>,
    channels: &Arc<Channels>,
    native: &Arc<Native>,
    apps: &Apps,
    context: &Arc<EndpointContext>,
    hub: &Arc<Hub>,
    revoker: &Arc<Revoker>,
) -> Arc<ApiState> {
    ApiState::start(ApiState {
        broker: broker.clone(),
        channels: channels.clone(),
        native: native.clone(),
        apps: ArcSwap::from_pointee(apps.clone()),
        revoker: revoker.clone(),
        sender: Sender::from(&settings.sender),
        outbox_bytes: settings.limits.outbox_bytes,
        reload: OnceLock::new(),
        context: context.clone(),
        hub: hub.clone(),
        lists: ApiState::lists(),
        tails: Tails::default(),
    })
}

/// The API on the operators' port. It responds only under `hosts`.
pub(super) fn on_admin_port(state: Arc<ApiState>, access: &Access, hosts: AdminHosts) -> Router {
    let check = move |request: Request, next: Next| {
        let permitted = hosts.check(request.uri().path(), request.headers());
        async move {
            match permitted {
                Ok(()) => next.run(request).await,
                Err(error) => Problem::from(error).into_response(),
            }
        }
    };
    api::routes(state, access, "").layer(from_fn(check))
}

/// The API on the public port, if the settings ask for it.
pub(super) fn on_public_port(state: Arc<ApiState>, keys: Arc<ApiKeys>, settings: &Api) -> Router {
    match &*settings.public_path {
        "" => Router::new(),
        path => api::routes(state, &Access::public(keys), path),
    }
}

/// Whether a request outside the API may close connections, which needs the same key.
pub(super) fn may_disconnect(
    access: Access,
) -> impl Fn(&HeaderMap) -> Result<(), ApiError> + Clone + Send + Sync + 'static {
    move |headers| match access.check(headers, Scope::Disconnect) {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::info!(route = "/disconnect", %error, "API request rejected");
            let message = error.to_string();
            Err(match Problem::from(error).status() {
                StatusCode::UNAUTHORIZED => ApiError::unauthorized(message),
                _ => ApiError::forbidden(message),
            })
        }
    }
}
