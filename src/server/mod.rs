//! The composition root: builds the rooms, binds, drains.

mod drain;
mod neighbours;
mod public;
mod relay;
mod run;
mod settings;
mod signals;

pub use run::run;
pub use settings::{Listen, Settings};
