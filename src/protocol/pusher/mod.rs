//! The Pusher protocol, as Laravel Echo and pusher-js speak it, with its HTTP API.
//!
//! Pure: bytes in, bytes and decisions out.

mod action;
mod apps;
mod channel;
mod event;
pub mod http;
mod incoming;
pub mod outgoing;
pub mod presence;
mod rate;
mod refusal;
mod session;
mod settings;
mod socket_id;
mod user;
mod webhook;

pub use action::{Action, ClientEvent, Joined, Subscribe, Ticket};
pub use apps::{App, Apps};
pub use channel::{Access, Channel, InvalidChannel};
pub use event::{Broadcast, InvalidBroadcast};
pub use incoming::{CLIENT_PREFIX, Incoming};
pub use refusal::{Fatal, Refusal, SubscriptionError};
pub use session::Session;
pub use settings::{AppSettings, Problem, PusherSettings};
pub use socket_id::{InvalidSocketId, SocketId};
pub use user::{InvalidUser, User, parse_member};
pub use webhook::{
    Dropped, EventKind, InvalidWebhook, RETURN_WITHIN, Subject, Way, WebhookEvent, WebhookFilter,
    WebhookQueue, WebhookSettings, WebhookTarget, webhook_body,
};
