//! What the operators see: metrics and logs. A leaf: it imports no other room.

mod logs;
mod metrics;
mod settings;

pub use logs::{InvalidFilter, init_logs, validate_filter};
pub use metrics::{Call, Metrics, Reason};
pub use settings::{Format, Settings};
