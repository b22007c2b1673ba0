use std::sync::Arc;

use super::leave::Leaving;
use crate::channels::Channels;

/// What all connections of the endpoint share.
#[derive(Debug)]
pub(super) struct PusherContext {
    pub(super) channels: Arc<Channels>,
    pub(super) leaving: Leaving,
}

impl PusherContext {
    /// Needs a tokio runtime, for connections that leave many channels.
    pub(super) fn start(channels: Arc<Channels>) -> Arc<Self> {
        Arc::new(Self { channels, leaving: Leaving::start() })
    }
}
