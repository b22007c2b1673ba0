use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::Problem;
use super::node_tails::Tails;
use super::reload_report::{Reload, ReloadReport};
use crate::broker::Broker;
use crate::channels::Channels;
use crate::hub::Hub;
use crate::message::Sender;
use crate::protocol::native::Native;
use crate::protocol::pusher::{App, Apps};
use crate::tokens::Revoker;
use crate::transport::EndpointContext;

/// What the API works with.
#[derive(Debug)]
pub struct ApiState {
    /// Accepts what is published and closed.
    pub broker: Arc<Broker>,
    /// The channels of apps, and the other nodes.
    pub channels: Arc<Channels>,
    /// The connections of this node.
    pub hub: Arc<Hub>,
    /// Asks them.
    pub context: Arc<EndpointContext>,
    /// The rules of native channels.
    pub native: Arc<Native>,
    pub apps: ArcSwap<Apps>,
    pub revoker: Arc<Revoker>,
    /// The sender of messages that name none.
    pub sender: Sender,
    /// The largest encoded message that subscribers can receive, in bytes.
    pub outbox_bytes: usize,
    /// Set once, if the server can reload its settings.
    pub reload: OnceLock<Reload>,
    /// Bounds the lists that are made at a time.
    pub lists: Semaphore,
    /// Who follows what happens.
    pub tails: Tails,
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
