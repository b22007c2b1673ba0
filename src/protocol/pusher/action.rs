use super::channel::Channel;
use super::user::User;
use crate::message::{Close, Frame, Member, UserId};

/// A step that the connection performs for the session. The steps of one call are performed in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this to the client.
    Reply(Frame),
    /// The client asks whether the connection is alive: send it this answer.
    Pong(Frame),
    /// Send a WebSocket ping (RFC 6455), which the client's WebSocket library answers.
    Ping,
    /// Subscribe the connection to the channel, then report the result with [`Session::joined`](super::Session::joined) or
    /// [`Session::join_failed`](super::Session::join_failed).
    Subscribe(Subscribe),
    /// Unsubscribe the connection from the channel.
    Unsubscribe(Unsubscribed),
    /// Publish this event to all subscribers except the client that sent it.
    Publish(ClientEvent),
    /// Register the connection as one of this user's.
    SignIn(User),
    /// Send this close frame after all earlier frames. The session returns no further actions.
    Close(&'static Close),
}

/// A subscription that the session permits. The engine can still reject it, for example because the channel is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub channel: Channel,
    /// The member that joins a presence channel; `None` on other channels. The engine enforces the limit on members.
    pub member: Option<Member>,
    /// Identifies the attempt when its result is reported.
    pub ticket: Ticket,
    /// The last position on the channel that the client knows, as it has sent it.
    pub since: Option<Box<str>>,
}

/// A subscription that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribed {
    pub channel: Channel,
    /// Its success was reported with [`Session::joined`](super::Session::joined). Otherwise it was pending.
    pub was_active: bool,
}

/// Identifies an attempt to subscribe. The session ignores the result of an attempt that the client has abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub(crate) u32);

/// A client event that passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    /// A private or presence channel to which the client is subscribed.
    pub channel: Channel,
    /// The event name, which starts with `client-`.
    pub event: String,
    /// The `data` that the subscribers receive.
    pub data: String,
    /// The member that sent the event, on a presence channel.
    pub user_id: Option<UserId>,
}

/// The state of a channel at the moment of a successful subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joined {
    /// The members of a presence channel, including the new subscriber.
    pub members: Vec<Member>,
    /// The frame of the last event of a cache channel.
    pub cached: Option<Frame>,
    /// The position after which the client gets everything, if it is told positions.
    pub position: Option<String>,
}
