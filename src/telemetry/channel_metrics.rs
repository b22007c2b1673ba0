use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// The series of the channels of a kind, or of an app, so that a message need not look them up by their labels. See
/// [`Metrics::start_channels`](super::Metrics::start_channels).
#[derive(Debug)]
pub struct ChannelMetrics {
    /// See [`Metrics::channel_messages`](super::Metrics::channel_messages).
    pub messages: Counter,
    /// See [`LatencyMetrics::delivery`](super::LatencyMetrics::delivery).
    pub delivery: Histogram,
    /// See [`LatencyMetrics::end_to_end`](super::LatencyMetrics::end_to_end).
    pub end_to_end: Histogram,
}
