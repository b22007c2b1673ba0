use std::sync::Arc;
use std::time::Duration;

use super::leave::Leaving;
use super::sessions::Sessions;
use crate::channels::Channels;

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
            let weak = Arc::downgrade(&context);
            context.channels.set_session_owner(Box::new(move |session, by| {
                if let Some(context) = weak.upgrade() {
                    tokio::spawn(context.on_claim(session, by));
                }
            }));
        }
        context
    }
}
