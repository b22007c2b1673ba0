use std::sync::Arc;

use prometheus_client::encoding::{prometheus_protobuf, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::channel_metrics::ChannelMetrics;
use super::known_labels;
use super::labels::{ApiCall, ApiRequest, ChannelGroup, KindLabel, Reason};
use super::latency_metrics::LatencyMetrics;
use super::level_metrics::LevelMetrics;
use super::log_metrics::LogMetrics;
use super::process_metrics::ProcessMetrics;
use super::tail::Tail;
use super::token_metrics::TokenMetrics;
use super::trace_metrics::TraceMetrics;
use super::traces::{Tracer, TracingSettings};
use super::traffic::Traffic;
use crate::unix_time::unix_time;

/// All metrics of the server, under the names that Prometheus shows, and the tracer: what is measured is also what can be traced.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What `/api/v1/traffic` shows, not a metric: names have no bound.
    pub traffic: Traffic,
    traces: TraceMetrics,
    /// What `/api/v1/events` shows.
    pub tail: Tail,
    pub connections: Gauge,
    /// The most connections that this node takes.
    pub connections_limit: Gauge,
    /// Channels with at least one subscriber on this node.
    pub channels: Gauge,
    pub connections_opened: Counter,
    pub connections_closed: Family<Reason, Counter>,
    /// Times that a connection was throttled because its client exceeded the message rate.
    pub connections_throttled: Counter,
    pub handshakes_refused: Family<Reason, Counter>,
    /// HTTP connections that the server closed.
    pub http_dropped: Family<Reason, Counter>,
    /// Client messages that the broker accepted.
    pub messages_accepted: Counter,
    /// Client messages that were refused, by the error code that the sender received.
    pub messages_refused: Family<Reason, Counter>,
    pub tokens: TokenMetrics,
    pub latency: LatencyMetrics,
    pub levels: LevelMetrics,
    /// Messages for the channels of a kind, or of an app, that arrived from the broker.
    pub channel_messages: Family<ChannelGroup, Counter>,
    pub broker_messages: Counter,
    pub broker_dropped: Family<Reason, Counter>,
    /// Messages between nodes that were ignored, by reason.
    pub cluster_messages_ignored: Family<Reason, Counter>,
    /// Keys that the `fields` of a kind of channel removed from messages.
    pub fields_left_out: Family<KindLabel, Counter>,
    /// Messages that an application published without a number, or added to the ingest stream, and that were not stored.
    pub ingest_lost: Family<Reason, Counter>,
    /// Entries of the ingest stream that could not be read.
    pub ingest_rejected: Family<Reason, Counter>,
    /// 1 while the broker is subscribed and accepts messages.
    pub broker_up: Gauge,
    /// Times that the connection to the broker was lost. Messages published in the meantime are missed.
    pub broker_interruptions: Counter,
    /// Copies written to subscribers.
    pub deliveries: Counter,
    /// Clients that came back and received everything that they had missed.
    pub recoveries: Counter,
    /// Messages that they received so.
    pub messages_recovered: Counter,
    /// Users left out of lists that were too long for one message.
    pub presence_users_omitted: Counter,
    /// Times that clients were told that they may have missed messages, by reason.
    pub gaps: Family<Reason, Counter>,
    /// What applications have decided about messages at gates.
    pub gate_decisions: Family<Reason, Counter>,
    /// Messages at gates about which the application has not decided, by reason.
    pub gate_failures: Family<Reason, Counter>,
    /// Requests to `/api/v1`, by route, key and outcome.
    pub api_requests: Family<ApiRequest, Counter>,
    pub pusher_connections: Gauge,
    pub pusher_subscriptions: Gauge,
    /// Of the Pusher protocol.
    pub subscriptions_refused: Family<Reason, Counter>,
    /// An event for several channels counts once.
    pub pusher_events: Counter,
    pub pusher_calls: Family<ApiCall, Counter>,
    /// Connections that resumed the session of an earlier one.
    pub pusher_sessions_resumed: Counter,
    /// Sessions that ended early, because too many were kept.
    pub pusher_sessions_dropped: Counter,
    /// Subscriptions of resumed sessions to channels with a history: whether the client got everything that it had missed.
    pub pusher_recoveries: Family<Reason, Counter>,
    /// Webhook requests answered with 2xx.
    pub webhooks_sent: Counter,
    /// Webhook requests that failed. They are retried.
    pub webhooks_failed: Counter,
    /// Events that no webhook request delivered: the queue was full, retries took too long, or the node shut down.
    pub webhooks_dropped: Counter,
    pub event_stream_entries: Counter,
    /// Events that were not added to the stream: the queue was full, or the node shut down.
    pub event_stream_dropped: Counter,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        register_process(&mut registry);
        let ours = registry.sub_registry_with_prefix("yamabiko");
        register_server(ours);
        macro_rules! metric {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                register(ours, $name, $help, &metric);
                metric
            }};
        }
        let metrics = Self {
            tokens: TokenMetrics::new(ours),
            traffic: Traffic::default(),
            traces: TraceMetrics::new(ours),
            tail: Tail::default(),
            latency: LatencyMetrics::new(ours),
            levels: LevelMetrics::new(ours),
            channel_messages: metric!("channel_messages", "Messages received for delivery, by kind or app"),
            connections: metric!("connections", "Open connections"),
            connections_limit: metric!("connections_limit", "The most connections that this node takes"),
            channels: metric!("channels", "Channels with a subscriber on this node"),
            connections_opened: metric!("connections_opened", "Connections opened"),
            connections_closed: metric!("connections_closed", "Connections closed, by reason"),
            connections_throttled: metric!(
                "connections_throttled",
                "Times that a client exceeded the message rate and was throttled"
            ),
            handshakes_refused: metric!("handshakes_refused", "Handshakes refused, by reason"),
            http_dropped: metric!("http_dropped", "HTTP connections that the server closed, by reason"),
            messages_accepted: metric!("messages_accepted", "Client messages accepted by the broker"),
            messages_refused: metric!("messages_refused", "Client messages refused, by error code"),
            broker_messages: metric!("broker_messages", "Messages received from the broker"),
            broker_dropped: metric!("broker_dropped", "Messages from the broker dropped, by reason"),
            cluster_messages_ignored: metric!(
                "cluster_messages_ignored",
                "Messages of other nodes ignored by this version, by reason"
            ),
            fields_left_out: metric!(
                "fields_left_out",
                "Keys removed from messages by the fields of their kind"
            ),
            ingest_lost: metric!(
                "ingest_lost",
                "Messages of applications for channels with a history that were not stored, by reason"
            ),
            ingest_rejected: metric!(
                "ingest_rejected",
                "Entries of the ingest stream moved to the dead letters, by reason"
            ),
            broker_up: metric!("broker_up", "1 while the broker is subscribed and accepts messages"),
            broker_interruptions: metric!("broker_interruptions", "Losses of the connection to the broker"),
            deliveries: metric!("deliveries", "Copies of messages written to subscribers"),
            recoveries: metric!(
                "recoveries",
                "Clients that came back and received everything that they had missed"
            ),
            messages_recovered: metric!("messages_recovered", "Messages delivered to clients that came back"),
            presence_users_omitted: metric!(
                "presence_users_omitted",
                "Users left out of lists of users that were too long for one message"
            ),
            gaps: metric!("gaps", "Times that clients were told that messages may be missing, by reason"),
            gate_decisions: metric!("gate_decisions", "What applications decided about messages at gates"),
            gate_failures: metric!(
                "gate_failures",
                "Messages at gates about which the application did not decide, by reason"
            ),
            api_requests: metric!("api_requests", "Requests to the HTTP API, by route, key and outcome"),
            pusher_connections: metric!("pusher_connections", "Open connections of the Pusher protocol"),
            pusher_subscriptions: metric!("pusher_subscriptions", "Subscriptions of Pusher connections"),
            subscriptions_refused: metric!(
                "pusher_subscriptions_refused",
                "Subscriptions refused, by reason"
            ),
            pusher_events: metric!("pusher_events", "Pusher events received for delivery"),
            pusher_calls: metric!("pusher_calls", "Calls to the Pusher HTTP API, by endpoint and outcome"),
            pusher_sessions_resumed: metric!(
                "pusher_sessions_resumed",
                "Pusher connections that resumed the session of an earlier one"
            ),
            pusher_sessions_dropped: metric!(
                "pusher_sessions_dropped",
                "Sessions of Pusher pages that ended early because too many were kept"
            ),
            pusher_recoveries: metric!(
                "pusher_recoveries",
                "Subscriptions of resumed sessions to channels with a history, by outcome"
            ),
            webhooks_sent: metric!("webhooks_sent", "Webhook requests answered with 2xx"),
            webhooks_failed: metric!("webhooks_failed", "Webhook requests that failed and are retried"),
            webhooks_dropped: metric!("webhooks_dropped", "Events that were never delivered to a webhook"),
            event_stream_entries: metric!("event_stream_entries", "Events added to the event stream"),
            event_stream_dropped: metric!("event_stream_dropped", "Events never added to the event stream"),
            registry,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Creates the series whose labels are known: `rate` does not see the first event of a series that starts with it.
    fn start_at_zero(&self) {
        for (family, reasons) in [
            (&self.handshakes_refused, known_labels::HANDSHAKES_REFUSED),
            (&self.http_dropped, known_labels::HTTP_DROPPED),
            (&self.tokens.jwks_failures, known_labels::JWKS_FAILURES),
            (&self.tokens.renewals_refused, known_labels::RENEWALS_REFUSED),
            (&self.messages_refused, known_labels::MESSAGES_REFUSED),
            (&self.subscriptions_refused, known_labels::SUBSCRIPTIONS_REFUSED),
            (&self.broker_dropped, known_labels::BROKER_DROPPED),
            (&self.ingest_lost, known_labels::INGEST_LOST),
            (&self.ingest_rejected, known_labels::INGEST_REJECTED),
            (&self.cluster_messages_ignored, known_labels::CLUSTER_MESSAGES_IGNORED),
            (&self.connections_closed, known_labels::CONNECTIONS_CLOSED),
            (&self.gaps, known_labels::GAPS),
            (&self.gate_decisions, known_labels::GATE_DECISIONS),
            (&self.gate_failures, known_labels::GATE_FAILURES),
            (&self.pusher_recoveries, known_labels::PUSHER_RECOVERIES),
            (&self.traces.spans_dropped, known_labels::SPANS_DROPPED),
        ] {
            for reason in reasons {
                drop(family.get_or_create(&Reason::new(reason)));
            }
        }
        // Requests with a key have a series each from the first one on: the keys are those of the settings.
        for outcome in known_labels::WITHOUT_KEY {
            drop(self.api_requests.get_or_create(&ApiRequest::new("/publish", "", outcome)));
        }
        for endpoint in known_labels::ENDPOINTS {
            for outcome in known_labels::OUTCOMES {
                drop(self.pusher_calls.get_or_create(&ApiCall::new(endpoint, outcome)));
            }
        }
    }

    /// Starts traces, if the settings name a collector. `node` is this node in them. Needs a tokio runtime, if so.
    pub fn start_traces(&self, settings: &TracingSettings, node: &str) {
        self.traces.start(settings, node);
    }

    /// Starts spans, if traces are on.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        self.traces.tracer()
    }

    /// The page in the `OpenMetrics` format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    /// The page in the text format 0.0.4, for clients that do not accept `OpenMetrics`.
    #[must_use]
    pub fn render_text(&self) -> String {
        let mut text = String::new();
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }

    /// The page as messages of Prometheus's Protocol Buffers, the only format with native histograms.
    #[must_use]
    pub fn render_protobuf(&self) -> Option<Vec<u8>> {
        prometheus_protobuf::encode_to_vec(&self.registry).ok()
    }

    /// Starts the series of these channels at 0.
    pub fn start_channels(&self, group: &ChannelGroup) -> Arc<ChannelMetrics> {
        Arc::new(ChannelMetrics {
            messages: self.channel_messages.get_or_create(group).clone(),
            delivery: self.latency.delivery.get_or_create(group).clone(),
            end_to_end: self.latency.end_to_end.get_or_create(group).clone(),
        })
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register_server(registry: &mut Registry) {
    registry.register_collector(Box::new(LogMetrics));
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version of the server", version);
}

fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: &M)
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
}

fn register_process(registry: &mut Registry) {
    registry.register_collector(Box::new(ProcessMetrics));
    let start: Gauge = Gauge::default();
    start.set(i64::try_from(unix_time().as_secs()).unwrap_or_default());
    registry.register_with_unit(
        "process_start_time",
        "When the process started, as Unix time",
        Unit::Seconds,
        start,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_each_metric_with_its_labels() {
        let metrics = Metrics::new();
        metrics.connections.inc();
        metrics.broker_dropped.get_or_create(&Reason::new("invalid_json")).inc();
        let page = metrics.render();
        assert!(page.contains("yamabiko_connections 1"), "{page}");
        assert!(page.contains(r#"yamabiko_broker_dropped_total{reason="invalid_json"} 1"#), "{page}");
        let version = concat!("yamabiko_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
        assert!(page.contains(version), "{page}");
        assert!(page.contains("\nprocess_start_time_seconds 1"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    /// The formats have labels in another order, and write whole bounds of buckets differently.
    fn sample(line: &str) -> String {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        format!("{name}{labels:?} {value}").replace(".0\\\"", "\\\"")
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let metrics = Metrics::new();
        metrics.broker_dropped.get_or_create(&Reason::new("invalid_json")).inc();
        let (open, text) = (metrics.render(), metrics.render_text());
        let samples = |page: &str| -> Vec<String> {
            let lines = page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
            let mut samples: Vec<String> = lines.map(sample).collect();
            samples.sort();
            samples
        };
        assert_eq!(samples(&open), samples(&text));
        for line in [
            "# TYPE yamabiko_broker_dropped_total counter",
            "# HELP yamabiko_broker_dropped_total Messages from the broker dropped, by reason.",
            "# TYPE yamabiko_build_info gauge",
            "# TYPE yamabiko_connections gauge",
            "# TYPE process_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }
}
