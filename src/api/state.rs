use std::sync::Arc;

use crate::broker::Broker;
use crate::channels::Channels;
use crate::message::Sender;
use crate::protocol::native::Native;
use crate::protocol::pusher::Apps;
use crate::tokens::Revoker;

use super::Problem;
use crate::protocol::pusher::App;

/// What the API works with.
#[derive(Debug)]
pub struct ApiState {
    /// Accepts what is published and closed.
    pub broker: Arc<Broker>,
    /// The channels of apps.
    pub channels: Arc<Channels>,
    /// The rules of native channels.
    pub native: Arc<Native>,
    pub apps: Apps,
    pub revoker: Arc<Revoker>,
    /// The sender of messages that name none.
    pub sender: Sender,
    /// The largest encoded message that subscribers can receive, in bytes.
    pub outbox_bytes: usize,
}

impl ApiState {
    /// An app that serves requests.
    pub(super) fn app(&self, id: &str) -> Result<&Arc<App>, Problem> {
        let app = self
            .apps
            .by_id(id)
            .ok_or_else(|| Problem::invalid("unknown_app", format!("there is no app with the ID {id:?}")))?;
        if app.enabled {
            Ok(app)
        } else {
            Err(Problem::invalid("app_disabled", format!("the app {id:?} is disabled in the settings")))
        }
    }
}
