use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::known;
use super::process::{Logs, Process};

/// The `reason` label: one of a fixed set of words, never text from a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: Word,
}

impl Reason {
    /// The label `reason="word"`.
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { reason: Word(word) }
    }
}

/// The labels of a call of the HTTP API: which endpoint, and what became of it. Each is one of a fixed set of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    endpoint: Word,
    outcome: Word,
}

impl Call {
    /// The labels `endpoint="…",outcome="…"`.
    #[must_use]
    pub const fn new(endpoint: &'static str, outcome: &'static str) -> Self {
        Self { endpoint: Word(endpoint), outcome: Word(outcome) }
    }
}

/// The `kind` label: a kind of channel that the settings name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: String,
}

impl Kind {
    /// The label `kind="name"`. Not for names from a network: each makes a series.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { kind: name.to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder,
    ) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

/// Everything that is counted, under the names that Prometheus shows. Shared by all rooms behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Open connections.
    pub connections: Gauge,
    /// Channels with at least one subscriber on this node.
    pub channels: Gauge,
    /// Connections that were opened.
    pub connections_opened: Counter,
    /// Connections that ended, by reason.
    pub connections_closed: Family<Reason, Counter>,
    /// Times that a connection was held back, because its client sent more than it may.
    pub connections_throttled: Counter,
    /// Handshakes that were refused, by reason.
    pub handshakes_refused: Family<Reason, Counter>,
    /// HTTP connections that the server closed, by reason.
    pub http_dropped: Family<Reason, Counter>,
    /// Messages of clients that the broker accepted.
    pub messages_accepted: Counter,
    /// Messages of clients that were refused, by the error code that the sender got.
    pub messages_refused: Family<Reason, Counter>,
    /// Messages that came from the broker.
    pub broker_messages: Counter,
    /// Messages from the broker that were dropped, by reason.
    pub broker_dropped: Family<Reason, Counter>,
    /// Messages between nodes that were ignored, by reason.
    pub cluster_messages_ignored: Family<Reason, Counter>,
    /// Keys of messages that the `fields` of a kind of channel took out, by kind.
    pub fields_left_out: Family<Kind, Counter>,
    /// 1 while the broker is subscribed and accepts messages.
    pub broker_up: Gauge,
    /// Times that the broker was lost: what Laravel published meanwhile was not seen.
    pub broker_interruptions: Counter,
    /// Copies handed to subscribers.
    pub deliveries: Counter,
    /// Open connections that speak the Pusher protocol.
    pub pusher_connections: Gauge,
    /// Subscriptions of those on this node.
    pub pusher_subscriptions: Gauge,
    /// Events of the Pusher protocol that arrived for delivery; one for several channels counts once.
    pub pusher_events: Counter,
    /// Calls of the HTTP API that were answered, by endpoint and outcome.
    pub pusher_calls: Family<Call, Counter>,
    /// Requests that webhooks took.
    pub webhooks_sent: Counter,
    /// Requests that a webhook did not take; they are tried again.
    pub webhooks_failed: Counter,
    /// Events that webhooks were never told: the queue was full, trying took too long, or the node ended.
    pub webhooks_dropped: Counter,
}

impl Metrics {
    /// All at zero, registered.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let start: Gauge = Gauge::default();
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or_default());
        start.set(seconds);
        registry.register_with_unit(
            "process_start_time",
            "When the process started, as Unix time",
            Unit::Seconds,
            start,
        );
        let ours = registry.sub_registry_with_prefix("yamabiko");
        ours.register_collector(Box::new(Logs));
        ours.register("build", "Which version this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        macro_rules! metric {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                register(ours, $name, $help, &metric);
                metric
            }};
        }
        let metrics = Self {
            connections: metric!("connections", "Open connections"),
            channels: metric!("channels", "Channels with a subscriber on this node"),
            connections_opened: metric!("connections_opened", "Connections that were opened"),
            connections_closed: metric!("connections_closed", "Connections that ended, by reason"),
            connections_throttled: metric!(
                "connections_throttled",
                "Times that a client sent more than it may and was read more slowly"
            ),
            handshakes_refused: metric!("handshakes_refused", "Handshakes that were refused, by reason"),
            http_dropped: metric!("http_dropped", "HTTP connections that the server closed, by reason"),
            messages_accepted: metric!("messages_accepted", "Messages of clients that the broker accepted"),
            messages_refused: metric!(
                "messages_refused",
                "Messages of clients that were refused, by error code"
            ),
            broker_messages: metric!("broker_messages", "Messages that came from the broker"),
            broker_dropped: metric!(
                "broker_dropped",
                "Messages from the broker that were dropped, by reason"
            ),
            cluster_messages_ignored: metric!(
                "cluster_messages_ignored",
                "Messages of other nodes that this version ignores, by reason"
            ),
            fields_left_out: metric!(
                "fields_left_out",
                "Keys of messages that the fields of their kind left out, by kind"
            ),
            broker_up: metric!("broker_up", "1 while the broker is subscribed and accepts messages"),
            broker_interruptions: metric!("broker_interruptions", "Times that the broker was lost"),
            deliveries: metric!("deliveries", "Copies handed to subscribers"),
            pusher_connections: metric!("pusher_connections", "Open connections of the Pusher protocol"),
            pusher_subscriptions: metric!("pusher_subscriptions", "Subscriptions of Pusher connections"),
            pusher_events: metric!("pusher_events", "Pusher events that arrived for delivery"),
            pusher_calls: metric!("pusher_calls", "Calls of the Pusher HTTP API, by endpoint and outcome"),
            webhooks_sent: metric!("webhooks_sent", "Requests that webhooks took"),
            webhooks_failed: metric!("webhooks_failed", "Requests that webhooks did not take, tried again"),
            webhooks_dropped: metric!("webhooks_dropped", "Events that webhooks were never told"),
            registry,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Shows the series whose labels are known: what begins with the first event would hide it from `rate`.
    fn start_at_zero(&self) {
        for (family, reasons) in [
            (&self.handshakes_refused, known::HANDSHAKES_REFUSED),
            (&self.http_dropped, known::HTTP_DROPPED),
            (&self.messages_refused, known::MESSAGES_REFUSED),
            (&self.broker_dropped, known::BROKER_DROPPED),
            (&self.cluster_messages_ignored, known::CLUSTER_MESSAGES_IGNORED),
            (&self.connections_closed, known::CONNECTIONS_CLOSED),
        ] {
            for reason in reasons {
                drop(family.get_or_create(&Reason::new(reason)));
            }
        }
        for endpoint in known::ENDPOINTS {
            for outcome in known::OUTCOMES {
                drop(self.pusher_calls.get_or_create(&Call::new(endpoint, outcome)));
            }
        }
    }

    /// All of them in the `OpenMetrics` text format, which Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Metrics {
    /// The same in the older text format (0.0.4), for those who do not read `OpenMetrics`.
    #[must_use]
    pub fn render_text(&self) -> String {
        as_text(&self.render())
    }
}

/// `OpenMetrics` in the text format 0.0.4. There a counter's name ends with `_total` also where its type is said, an
/// info is a gauge, and there are neither units nor an end.
fn as_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + 1024);
    let (mut name, mut suffix) = ("", "");
    // A name's help comes before its type, which decides what is added to both.
    let mut types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for line in page.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let Some((keyword, rest)) = comment.split_once(' ') else { continue };
        let (of, said) = rest.split_once(' ').unwrap_or((rest, ""));
        if of != name {
            name = of;
            suffix = match types.find(|(known, _)| *known == of) {
                Some((_, "counter")) => "_total",
                Some((_, "info")) => "_info",
                _ => "",
            };
        }
        let said = match (keyword, said) {
            ("HELP", help) => help,
            ("TYPE", "info") => "gauge",
            ("TYPE", kind) => kind,
            _ => continue,
        };
        text.extend(["# ", keyword, " ", name, suffix, " ", said, "\n"]);
    }
    text
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: &M)
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_each_metric_with_its_reasons() {
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

    #[test]
    fn the_older_format_says_the_same() {
        let metrics = Metrics::new();
        metrics.broker_dropped.get_or_create(&Reason::new("invalid_json")).inc();
        let (open, text) = (metrics.render(), metrics.render_text());
        let samples = |page: &str| -> Vec<String> {
            let lines = page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(samples(&open), samples(&text));
        for line in [
            "# TYPE yamabiko_broker_dropped_total counter",
            "# HELP yamabiko_broker_dropped_total Messages from the broker that were dropped, by reason.",
            "# TYPE yamabiko_build_info gauge",
            "# TYPE yamabiko_connections gauge",
            "# TYPE process_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }
}
