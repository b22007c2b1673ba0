//! Metrics and logs. A leaf: it imports no other room.

mod known_labels;
mod labels;
mod log_metrics;
mod log_rate_limit;
mod log_writer;
mod logs;
mod metric_samples;
mod metrics;
mod panics;
mod process_metrics;
mod removed_keys;
mod settings;
mod text_fields;
mod text_format;
mod token_metrics;
mod traffic;

pub use labels::{ApiCall, ApiRequest, KindLabel, Reason};
pub use log_writer::flush_logs;
pub use logs::{init_logs, log_suppressed_lines, logged, set_log_level, validate_filter};
pub use metric_samples::MetricSamples;
pub use metrics::Metrics;
pub use removed_keys::RemovedKeys;
pub use settings::{LogFormat, Settings};
pub use token_metrics::TokenMetrics;
pub use traffic::{BusiestNames, Rate, Traffic};
