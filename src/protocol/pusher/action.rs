use super::channel::Channel;
use super::user::User;
use crate::message::{Close, Frame, Member, UserId};

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this to the client.
    Reply(Frame),
    /// Send a ping of WebSocket itself (RFC 6455): the client's library answers it.
    Ping,
    /// Put the connection on the channel, then tell the session by [`Session::joined`](super::Session::joined) or [`Session::join_failed`](super::Session::join_failed).
    Subscribe(Subscribe),
    /// Take the connection off the channel. It may still be on its way there.
    Unsubscribe(Channel),
    /// Publish this on behalf of the client, to all but itself.
    Publish(ClientEvent),
    /// The connection belongs to this user from now on.
    SignIn(User),
    /// Send this close frame after what was sent before; nothing more comes of this session.
    Close(&'static Close),
}

/// A subscription that is allowed, as far as the session can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Where to.
    pub channel: Channel,
    /// As whom, on a presence channel. Whether there is room for another member is for the hub to say.
    pub member: Option<Member>,
    /// Which attempt this is, for the answer.
    pub ticket: Ticket,
}

/// An attempt to subscribe. The answer to one that was given up meanwhile does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub(super) u32);

/// An event of a client that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    /// Where it is for: private or presence, and subscribed to.
    pub channel: Channel,
    /// Its name, which starts with `client-`.
    pub event: String,
    /// What the receivers find under `data`.
    pub data: String,
    /// Who says it, on a presence channel.
    pub user_id: Option<UserId>,
}

/// What the hub has to say about a subscription that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joined {
    /// The members, oneself included, of a presence channel.
    pub members: Vec<Member>,
    /// The last event of a cache channel, as it was sent.
    pub cached: Option<Frame>,
}
