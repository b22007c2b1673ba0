//! Carries events between nodes, and from Laravel. Knows nobody who is connected.
mod settings;
pub use settings::Settings;
