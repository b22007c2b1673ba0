//! The Pusher protocol, as Laravel Echo and pusher-js speak it, with its HTTP API.
//!
//! Pure: bytes in, bytes and decisions out.

mod action;
mod apps;
mod channel;
pub mod close;
mod dialect;
pub mod http;
mod incoming;
mod laravel;
pub mod outgoing;
mod refusal;
mod session;
mod settings;
mod user;
mod webhook_settings;

pub use action::{Action, ClientEvent, Joined, Subscribe, Ticket};
pub use apps::{App, Apps};
pub use channel::{Access, Channel, InvalidChannel};
pub use dialect::PusherDialect;
pub use incoming::{CLIENT_PREFIX, Incoming};
pub use refusal::{Fatal, Refusal, SubscriptionError};
pub use session::Session;
pub use settings::{AppSettings, Problem, PusherSettings};
pub use user::{InvalidUser, User, parse_member};
pub use webhook_settings::{EventKind, InvalidWebhook, WebhookFilter, WebhookSettings, WebhookTarget};

use crate::message::Encoding;

/// Text messages in WebSocket frames.
pub const ENCODING: Encoding = Encoding::new(1);
