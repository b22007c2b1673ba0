//! The composition root: builds the rooms, binds, drains.

mod descriptors;
mod drain;
mod http_connections;
mod listener;
mod neighbours;
mod relay;
mod run;
mod settings;
mod signals;
mod timed_body;

pub use listener::{HttpTimeouts, accept_http, bind};

pub use run::run;
pub use settings::{Listen, Settings};
