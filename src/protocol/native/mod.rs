//! The native protocol, `docs/native.md`.
mod settings;
pub use settings::{ChannelSettings, ChannelsSettings, SenderSettings};
