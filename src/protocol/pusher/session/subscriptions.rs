use super::{State, UserId};
use crate::message::{ByName, ChannelName, Named};
use crate::protocol::pusher::Channel;

/// What a connection has to do with one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: Channel,
    /// The user on a presence channel. Boxed, because most channels are none.
    pub(super) user_id: Option<Box<UserId>>,
    pub(super) state: State,
}

impl Named for Subscription {
    fn name(&self) -> &ChannelName {
        self.channel.name()
    }
}

/// The channels of a connection.
pub(super) type Subscriptions = ByName<Subscription>;
