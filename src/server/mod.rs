//! The composition root: builds the rooms, binds, drains.

mod api;
mod drain;
mod laravel_messages;
mod public;
mod relay;
mod retention;
mod run;
mod settings;

pub use run::run;
pub use settings::{Listen, Recovery, Settings};
