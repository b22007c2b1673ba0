use std::sync::{Arc, Weak};
use std::time::Duration;

use super::leave::Leaving;
use super::sessions::Sessions;
use crate::channels::{Channels, SessionHost};
use crate::message::{ChannelName, NodeName};

/// What all connections of the endpoint share.
#[derive(Debug)]
pub(super) struct PusherContext {
    pub(super) channels: Arc<Channels>,
    pub(super) leaving: Leaving,
    pub(super) sessions: Sessions,
}

impl PusherContext {
    /// `window` is how long the session of a connection that has ended is kept. Needs a tokio runtime, for connections that leave
    /// many channels and for sessions that end.
    pub(super) fn start(channels: Arc<Channels>, window: Duration) -> Arc<Self> {
        let context = Arc::new(Self { channels, leaving: Leaving::start(), sessions: Sessions::new(window) });
        if context.sessions.is_on() {
            tokio::spawn(Self::expire_sessions(Arc::downgrade(&context)));
            context.channels.set_session_host(Box::new(WeakContext(Arc::downgrade(&context))));
        }
        context
    }
}

/// The engine's way to the sessions.
struct WeakContext(Weak<PusherContext>);

impl SessionHost for WeakContext {
    fn on_claim(&self, session: String, by: NodeName) {
        if let Some(context) = self.0.upgrade() {
            tokio::spawn(context.on_claim(session, by));
        }
    }

    fn on_gap(&self, app: &str, channel: &ChannelName) {
        if let Some(context) = self.0.upgrade() {
            context.sessions.connected().into_iter().for_each(|connection| connection.tell_gap(app, channel));
        }
    }
}
