//! Metrics, logs and traces. A leaf: it imports no other room.

mod channel_metrics;
mod delivery_timer;
mod kind_messages;
mod known_labels;
mod labels;
mod latency_metrics;
mod level_metrics;
mod log_level;
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
mod tail;
mod text_fields;
mod token_metrics;
mod trace_metrics;
mod traces;
mod traffic;

pub use channel_metrics::ChannelMetrics;
pub use delivery_timer::{DeliveryTimer, MessageTimes};
pub use kind_messages::KindMessages;
pub use labels::{
    ApiCall, ApiRequest, ChannelGroup, Endpoint, KindLabel, Protocol, Reason, Route, WebhookCall,
    WebhookLabel, WebhookQueueLabel,
};
pub use latency_metrics::{DurationHistogram, Durations, LatencyMetrics};
pub use level_metrics::LevelMetrics;
pub use log_level::{
    LogFilterError, LogLevel, end_temporary_log_level, log_level, set_log_level, set_temporary_log_level,
    validate_filter,
};
pub use log_writer::flush_logs;
pub use logs::{init_logs, log_suppressed_lines, logged};
pub use metric_samples::MetricSamples;
pub use metrics::Metrics;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::histogram::Histogram;
pub use removed_keys::RemovedKeys;
pub use settings::{LogFormat, Settings};
pub use tail::{Tail, TailEvent, TailKind, TailReader, Tailed};
pub use token_metrics::TokenMetrics;
pub use traces::{Span, SpanKind, Tracer, TracingSettings};
pub use traffic::{BusiestNames, Rate, Traffic};
