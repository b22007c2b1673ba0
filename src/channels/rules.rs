use std::sync::Arc;

use crate::message::{ChannelKind, ChannelName, Dialect, MemberEncoder};

/// The settings of an app that the engine needs.
#[derive(Debug, Clone)]
pub struct AppRules {
    pub id: Arc<str>,
    /// Connections of the app on this node. 0: no limit.
    pub connections: usize,
    /// Members of one presence channel. `usize::MAX`: no limit.
    pub presence_members: usize,
    /// Of an app whose subscribers do not speak the protocol of the engine's dialect. It has no topics.
    pub member_encoder: Option<Arc<dyn MemberEncoder>>,
    /// Whether subscribers receive subscription counts, on channels that are not presence channels.
    pub subscription_count: bool,
    /// How long a cache channel keeps its last event, in milliseconds.
    pub cache_ttl: u64,
    /// The largest `data` of an event that arrives by a topic, in bytes.
    pub event_bytes: usize,
}

impl AppRules {
    /// Whether the subscribers of a channel receive subscription counts.
    pub(super) fn is_counted(&self, dialect: &dyn Dialect, channel: &ChannelName) -> bool {
        if !self.subscription_count {
            return false;
        }
        let ChannelKind { is_presence, is_listed, .. } = dialect.kind(channel);
        is_listed && !is_presence
    }
}
