//! The composition root: builds the rooms, binds, drains.

mod api;
mod apps;
mod drain;
mod event_stream;
mod laravel_messages;
mod levels;
mod public;
mod relay;
mod reload;
mod restart_reason;
mod retention;
mod run;
mod settings;
mod webhooks;

pub use reload::{ChangedSettings, ReadSettings, Reloads};
pub use run::run;
pub use settings::{Listen, Recovery, Settings};
