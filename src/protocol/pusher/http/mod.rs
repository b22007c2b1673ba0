//! The HTTP API under `/apps/{app_id}/`: requests into commands, results into bodies.
//!
//! A request is all or nothing: one that is refused has changed nothing, since it never became a command.

mod answer;
mod command;
mod error;
mod route;

pub use answer::{batch, channel, channels, connections, empty, health, triggered, users};
pub use command::{Command, Info, Trigger, max_body_bytes, parse};
pub use error::HttpError;
pub use route::{Route, Target, authorize, authorize_head, route};
