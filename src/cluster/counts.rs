//! How many subscribers a channel has, told to them.

use super::Cluster;
use super::names::is_told;
use crate::message::{Audience, ChannelName};
use crate::protocol::pusher::{App, outgoing};
use crate::webhooks::WebhookEvent;

/// With more subscribers than this, their number is told now and then instead of at every change.
const MANY: u64 = 100;

impl Cluster {
    pub(super) fn counted(&self, app: &App, channel: ChannelName, count: u64) -> Option<WebhookEvent> {
        if !is_counted(app, &channel) {
            return None;
        }
        if !self.tell_count_now(app, &channel, count) {
            return None;
        }
        Some(WebhookEvent::SubscriptionCount { channel, subscription_count: count })
    }

    /// Tells the subscribers of this node how many there are. Not yet, where they are many: whether it has.
    pub(super) fn tell_count_now(&self, app: &App, channel: &ChannelName, count: u64) -> bool {
        if count > MANY {
            if let Some(state) = self.state().apps.get_mut(app.credentials.id()) {
                state.uncounted.insert(channel.clone());
            }
            return false;
        }
        self.tell_count(app.credentials.id(), channel, count);
        true
    }

    pub(super) fn tell_count(&self, app: &str, channel: &ChannelName, count: u64) {
        let scoped = ChannelName::scoped(app, channel.as_str());
        let frame = || Some((Audience::Everyone, outgoing::subscription_count(channel.as_str(), count)));
        self.hub.publish(&scoped, None, frame);
    }
}

/// Whether the subscribers of a channel are told how many they are.
pub(super) fn is_counted(app: &App, channel: &ChannelName) -> bool {
    app.rules.subscription_count && is_told(channel) && !is_presence(channel)
}

fn is_presence(name: &ChannelName) -> bool {
    name.as_str().starts_with("presence-")
}
