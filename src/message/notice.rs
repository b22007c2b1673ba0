use super::{ChannelName, Member, UserId};

/// A notice of the engine to the subscribers of a channel. Their protocol encodes it into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    Event {
        channel: &'a ChannelName,
        event: &'a str,
        data: &'a str,
        /// The member that sent it, if it is a client event on a presence channel.
        user_id: Option<&'a UserId>,
    },
    /// The first connection of a user has joined.
    MemberAdded {
        channel: &'a ChannelName,
        member: &'a Member,
    },
    /// The last connection of a user has left.
    MemberRemoved {
        channel: &'a ChannelName,
        member: &'a Member,
    },
    SubscriptionCount {
        channel: &'a ChannelName,
        count: u64,
    },
    /// A user whom the subscribers watch has signed in.
    UserOnline(&'a UserId),
    /// A user whom the subscribers watch is no longer connected.
    UserOffline(&'a UserId),
}
