use std::time::Instant;

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use prometheus_client::registry::{Metric, Registry, Unit};

use super::known_labels;
use super::labels::{ChannelGroup, Endpoint, KindLabel, Protocol, Route, WebhookCall};

/// The upper bounds of the classic buckets, in seconds.
pub(super) const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The upper bounds of the classic buckets of numbers of messages.
const MESSAGES: [f64; 7] = [0.0, 1.0, 3.0, 10.0, 100.0, 1000.0, 10_000.0];

/// Maximum native buckets of a series. With the default factor of 1.1, they cover seven powers of ten.
const MAX_NATIVE_BUCKETS: usize = 160;

/// The durations, part of [`Metrics`](super::Metrics). Each is a histogram both with classic buckets, which every scraper reads, and with
/// native ones.
#[derive(Debug)]
pub struct LatencyMetrics {
    /// From the arrival of a message from the broker until its last copy on this node is written. Samples: see
    /// [`DeliveryTimer`](super::DeliveryTimer).
    pub delivery: Durations<ChannelGroup>,
    /// The same from when this node accepted the message.
    pub end_to_end: Durations<ChannelGroup>,
    /// From when this node accepts a message until its own copy arrives from Redis.
    pub broker_round_trip: Histogram,
    pub handshake: Durations<Protocol>,
    /// From when a client asks for what it has missed until that is known.
    pub recovery: Histogram,
    /// How many messages a client that came back had missed.
    pub recovery_messages: Histogram,
    pub gate: Durations<KindLabel>,
    pub webhook: Durations<WebhookCall>,
    pub api: Durations<Route>,
    pub pusher_call: Durations<Endpoint>,
}

/// One histogram of durations for each set of labels.
pub type Durations<L> = Family<L, Histogram, DurationHistogram>;

#[derive(Debug, Clone, Copy)]
pub struct DurationHistogram;

impl MetricConstructor<Histogram> for DurationHistogram {
    fn new_metric(&self) -> Histogram {
        histogram(SECONDS)
    }
}

fn histogram(buckets: impl IntoIterator<Item = f64>) -> Histogram {
    let native = NativeHistogramConfig::default().max_buckets(MAX_NATIVE_BUCKETS);
    Histogram::new_classic_and_native(buckets, native)
}

impl LatencyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            delivery: family(
                registry,
                "delivery_duration",
                "From the arrival of a message from the broker until its last copy on this node is written",
            ),
            end_to_end: family(
                registry,
                "end_to_end_duration",
                "From when this node accepts a message until its last copy on this node is written",
            ),
            broker_round_trip: duration(
                registry,
                "broker_round_trip_duration",
                "From when this node accepts a message until its own copy arrives from Redis",
            ),
            handshake: family(
                registry,
                "handshake_duration",
                "Time to check and answer a handshake that was accepted",
            ),
            recovery: duration(
                registry,
                "recovery_duration",
                "From when a client asks for what it has missed until that is found",
            ),
            recovery_messages: histogram(MESSAGES),
            gate: family(registry, "gate_duration", "Time until an application has decided about a message"),
            webhook: family(registry, "webhook_duration", "Duration of webhook requests, by outcome"),
            api: family(registry, "api_duration", "Duration of requests to the HTTP API, by route"),
            pusher_call: family(
                registry,
                "pusher_call_duration",
                "Duration of calls to the Pusher HTTP API, by endpoint",
            ),
        };
        registry.register(
            "recovery_messages",
            "Messages that a client that came back had missed",
            metrics.recovery_messages.clone(),
        );
        for protocol in known_labels::PROTOCOLS {
            drop(metrics.handshake.get_or_create(&Protocol::new(protocol)));
        }
        for endpoint in known_labels::ENDPOINTS {
            drop(metrics.pusher_call.get_or_create(&Endpoint::new(endpoint)));
        }
        drop(metrics.api.get_or_create(&Route::new("/publish")));
        metrics
    }

    /// A client that asked at this moment for what it had missed gets this many messages.
    #[expect(clippy::cast_precision_loss, reason = "there are not that many messages")]
    pub fn recovered(&self, asked_at: Instant, messages: usize) {
        self.recovery.observe(asked_at.elapsed().as_secs_f64());
        self.recovery_messages.observe(messages as f64);
    }

    /// Starts the series of the webhooks of an app, or of those of native channels.
    pub fn start_webhooks(&self, app: Option<&str>) {
        for outcome in known_labels::WEBHOOK_OUTCOMES {
            drop(self.webhook.get_or_create(&WebhookCall::new(app, outcome)));
        }
    }
}

fn family<L>(registry: &mut Registry, name: &str, help: &str) -> Durations<L>
where
    Durations<L>: Metric + Clone,
    L: Clone + std::hash::Hash + Eq,
{
    let family = Family::new_with_constructor(DurationHistogram);
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

fn duration(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = histogram(SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}
