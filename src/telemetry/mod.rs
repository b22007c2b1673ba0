//! What the operators see: metrics and logs. A leaf: it imports no other room.

mod fields;
mod floods;
mod known;
mod left_out;
mod logs;
mod metrics;
mod panics;
mod process;
mod settings;
mod writer;

pub use left_out::LeftOut;
pub use logs::{InvalidFilter, init_logs, logged, tell_what_was_left_out, validate_filter};
pub use metrics::{Call, Kind, Metrics, Reason};
pub use settings::{Format, Settings};
pub use writer::flush_logs;
