//! The Pusher protocol of Laravel Echo and pusher-js, and its HTTP API.
//!
//! This module does no I/O: it takes bytes, and returns bytes and actions.

mod action;
mod apps;
mod channel;
mod client_message;
pub mod close;
mod dialect;
mod history_rule;
pub mod http;
mod laravel;
mod reject_reason;
pub mod server_message;
mod session;
mod session_key;
mod settings;
mod stream_entry;
mod user;
mod webhook_settings;

pub use action::{Action, ClientEvent, Joined, Refusal, Subscribe, Ticket, Unsubscribed};
pub use apps::{App, Apps};
pub use channel::{Access, Channel, InvalidChannel};
pub use client_message::{CLIENT_PREFIX, ClientMessage};
pub use dialect::PusherDialect;
pub use history_rule::HistoryRule;
pub use reject_reason::{Fatal, RejectReason, SubscriptionError};
pub use session::Session;
pub use session_key::{InvalidToken, SessionKey};
pub use settings::{AppSettings, Problem, PusherSettings};
pub use stream_entry::decode_entry;
pub use user::{InvalidUser, User, parse_member};
pub use webhook_settings::{EventKind, WebhookFilter, WebhookSettings};

use crate::message::Encoding;

/// Text messages in WebSocket frames.
pub const ENCODING: Encoding = Encoding::new(1);

/// The same, with the positions of events in the history of their channel.
pub const ENCODING_WITH_IDS: Encoding = Encoding::new(2);
