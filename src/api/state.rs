use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::broker::Broker;
use crate::channels::Channels;
use crate::message::Sender;
use crate::protocol::native::Native;
use crate::protocol::pusher::Apps;

use super::Problem;
use super::reload_report::{Reload, ReloadReport};
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
    pub apps: ArcSwap<Apps>,
    /// The sender of messages that name none.
    pub sender: Sender,
    /// The largest encoded message that subscribers can receive, in bytes.
    pub outbox_bytes: usize,
    /// Set once, if the server can reload its settings.
    pub reload: OnceLock<Reload>,
}

impl ApiState {
    /// Lets requests reload the settings of the server.
    pub fn set_reload(&self, reload: Box<dyn Fn() -> Result<ReloadReport, String> + Send + Sync>) {
        // There is one.
        let _ = self.reload.set(Reload(Arc::from(reload)));
    }

    /// An app that serves requests.
    pub(super) fn app(&self, id: &str) -> Result<Arc<App>, Problem> {
        let app =
            self.apps.load().by_id(id).cloned().ok_or_else(|| {
                Problem::invalid("unknown_app", format!("there is no app with the ID {id:?}"))
            })?;
        if app.enabled {
            Ok(app)
        } else {
            Err(Problem::invalid("app_disabled", format!("the app {id:?} is disabled in the settings")))
        }
    }
}
