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
mod retention;
mod run;
mod settings;

pub use reload::{ChangedSettings, ReadSettings, Reloads, is_reloadable};
pub use run::run;
pub use settings::{Listen, Recovery, Settings};
