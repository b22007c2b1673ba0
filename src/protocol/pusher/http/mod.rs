//! The HTTP API under `/apps/{app_id}/`: parses requests into commands, and encodes results as response bodies.
//!
//! A request is validated as a whole before it becomes a command, so a rejected request has no effect.

mod command;
mod error;
mod response;
mod route;

pub use command::{Command, Info, Trigger, max_body_bytes, parse};
pub use error::HttpError;
pub use response::{
    ChannelReport, batch, channel, channels, connections, empty, health, history, triggered, users,
};
pub use response::{HistoryMessage, HistoryReport};
pub use route::{Route, Target, authorize, authorize_head, route};
