//! The developer console: a page to try the service with, and the endpoints behind it.
//!
//! It issues tokens, so it responds only to requests of its own pages on a loopback name; see `guard`.

mod assets;
mod echo;
mod guard;
mod job;
mod publish;
mod settings;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, TokenIssuer};
use crate::broker::Broker;
use crate::message::Sender;
use crate::protocol::native::Native;
use crate::protocol::pusher::App;
use guard::same_machine;

pub use settings::Console;

/// Maximum number of sample jobs at a time.
const JOBS: usize = 4;
/// Maximum size of a request body, in bytes: well above the default `limits.message_bytes`.
const BODY_BYTES: usize = 256 * 1024;

/// The state of the console's endpoints. Clones share it.
#[derive(Debug, Clone)]
pub struct ConsoleState {
    broker: Arc<Broker>,
    issuer: Arc<TokenIssuer>,
    authenticator: Arc<Authenticator>,
    system: Sender,
    jobs: Arc<Semaphore>,
    app: Option<Arc<App>>,
    native: Arc<Native>,
}

impl ConsoleState {
    /// `system` is the sender of messages that name none.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        issuer: TokenIssuer,
        authenticator: Arc<Authenticator>,
        native: Arc<Native>,
        system: Sender,
    ) -> Self {
        Self {
            broker,
            issuer: Arc::new(issuer),
            authenticator,
            system,
            jobs: Arc::new(Semaphore::new(JOBS)),
            app: None,
            native,
        }
    }

    /// Sets the app of the Pusher protocol that the page shows.
    #[must_use]
    pub fn with_app(self, app: Option<Arc<App>>) -> Self {
        Self { app, ..self }
    }
}

/// The routes under `/console`. Mount them only if `console.enabled` is set.
pub fn routes(state: ConsoleState) -> Router {
    Router::new()
        .route("/console", get(assets::page))
        .route("/console/guide", get(assets::guide))
        .route("/console/assets/{name}", get(assets::asset))
        .route("/console/token", post(token::create))
        .route("/console/token/check", post(token::check))
        .route("/console/publish", post(publish::publish))
        .route("/console/job", post(job::start))
        .route("/console/echo", post(echo::key))
        .route("/console/echo/auth", post(echo::authorize))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .route_layer(from_fn(same_machine))
        .with_state(state)
}

#[cfg(test)]
mod tests;
