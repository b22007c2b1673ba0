//! The composition root: builds the rooms, binds, drains.
mod settings;
pub use settings::{Listen, Settings};
