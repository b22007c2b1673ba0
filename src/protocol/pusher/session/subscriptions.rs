use super::{SubscriptionState, UserId};
use crate::message::{ByName, ChannelName, Named};
use crate::protocol::pusher::{Channel, Unsubscribed};

/// An active or pending subscription of a connection.
#[derive(Debug)]
pub(super) struct SessionSubscription {
    pub(super) channel: Channel,
    /// The member on a presence channel. Boxed, because most channels are not presence channels.
    pub(super) user_id: Option<Box<UserId>>,
    pub(super) state: SubscriptionState,
}

impl From<SessionSubscription> for Unsubscribed {
    fn from(subscription: SessionSubscription) -> Self {
        let was_active = subscription.state == SubscriptionState::Active;
        Self { channel: subscription.channel, was_active }
    }
}

impl Named for SessionSubscription {
    fn name(&self) -> &ChannelName {
        self.channel.name()
    }
}

pub(super) type Subscriptions = ByName<SessionSubscription>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_stays_small() {
        assert!(size_of::<SessionSubscription>() <= 32, "{}", size_of::<SessionSubscription>());
    }
}
