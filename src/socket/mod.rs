//! The WebSocket edge: handshake, the one socket loop, heartbeat. Does not know what messages mean.
mod settings;
pub use settings::{Heartbeat, Limits};
