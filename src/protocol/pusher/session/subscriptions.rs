use super::{SubscriptionState, UserId};
use crate::message::{ByName, ChannelName, Named};
use crate::protocol::pusher::Channel;

/// An active or pending subscription of a connection.
#[derive(Debug)]
pub(super) struct SessionSubscription {
    pub(super) channel: Channel,
    /// The member on a presence channel. Boxed, because most channels are not presence channels.
    pub(super) user_id: Option<Box<UserId>>,
    pub(super) state: SubscriptionState,
}

impl Named for SessionSubscription {
    fn name(&self) -> &ChannelName {
        self.channel.name()
    }
}

pub(super) type Subscriptions = ByName<SessionSubscription>;
