//! The composition root: builds the rooms, binds, drains.

mod drain;
mod listener;
mod neighbours;
mod relay;
mod run;
mod settings;
mod signals;

pub use listener::{HttpTimeouts, accept_http, bind};

pub use run::run;
pub use settings::{Listen, Settings};
