use super::{State, UserId};
use crate::message::ChannelName;
use crate::protocol::pusher::Channel;

/// What a connection has to do with one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: Channel,
    /// Who it is on a presence channel.
    pub(super) user_id: Option<UserId>,
    pub(super) state: State,
}

/// The channels of a connection: few as a rule, so they are searched in turn and take no more room than they need.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    pub(super) fn get(&self, name: &ChannelName) -> Option<&Subscription> {
        self.0.iter().find(|subscription| subscription.channel.name() == name)
    }

    pub(super) fn get_mut(&mut self, name: &ChannelName) -> Option<&mut Subscription> {
        self.0.iter_mut().find(|subscription| subscription.channel.name() == name)
    }

    /// Adds one; the caller has seen that it is not there.
    pub(super) fn add(&mut self, subscription: Subscription) {
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        self.0.push(subscription);
    }

    pub(super) fn remove(&mut self, name: &ChannelName) -> Option<Subscription> {
        let position = self.0.iter().position(|subscription| subscription.channel.name() == name)?;
        Some(self.0.swap_remove(position))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
