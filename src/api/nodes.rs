use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::listing::{Entry, PageEnd, Part, merge};
use super::node_query::NodeQuery;
use super::problem::Problems;
use super::{ApiState, Problem};
use crate::broker::Status;
use crate::telemetry::MetricSamples;

/// The nodes that have answered.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeList {
    /// By name.
    nodes: Vec<NodeEntry>,
    #[serde(flatten)]
    end: PageEnd,
}

/// A node and its figures. Counts of what happened begin with its start: their differences are rates.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct NodeEntry {
    /// A new one at every start, as in the field `node` of the log line `listening`.
    name: String,
    /// The host name of its machine or container.
    host: String,
    /// The version of Yamabiko.
    version: String,
    /// As Unix time in seconds.
    started_at: u64,
    /// `ready`, or why messages cannot be published.
    #[schema(example = "ready")]
    broker: String,
    /// Whether it is shutting down.
    draining: bool,
    /// Open connections.
    connections: u64,
    /// The most connections that it takes, by `limits.connections` and its file descriptors.
    connections_limit: u64,
    /// Channels with a subscriber on the node.
    channels: u64,
    connections_opened: u64,
    handshakes_refused: u64,
    /// Messages of clients that were accepted.
    messages_accepted: u64,
    /// Messages of clients that were refused.
    messages_refused: u64,
    /// Messages that arrived for delivery, of clients and applications. Every node receives all of them.
    messages_received: u64,
    /// Copies written to connections.
    deliveries: u64,
    /// Messages and events that were dropped for any reason.
    dropped: u64,
    /// Connections that were closed because their clients did not read fast enough.
    slow_consumers: u64,
    /// Webhook requests that failed. Each is repeated for five minutes.
    webhooks_failed: u64,
    /// Messages at gates about which the application did not decide.
    gate_failures: u64,
    /// The CPU time of the process in seconds.
    cpu_seconds: f64,
    /// The memory of the process in bytes.
    resident_bytes: u64,
}

impl Entry for NodeEntry {
    /// A node answers once.
    fn merge(&mut self, _: Self) {}
}

/// List nodes
///
/// With their figures. `yamabiko top` shows them.
#[utoipa::path(
    get,
    path = "/nodes",
    tag = "Nodes",
    security(("key" = ["read"])),
    responses((status = 200, body = NodeList), Problems)
)]
pub(super) async fn nodes(State(state): State<Arc<ApiState>>) -> Result<Json<NodeList>, Problem> {
    let (parts, missing) = state.gather(&NodeQuery::Node {}).await;
    let (nodes, end) = merge(parts, usize::MAX, missing);
    Ok(Json(NodeList { nodes, end }))
}

impl ApiState {
    /// This node.
    pub(super) async fn own_node(&self) -> Part<NodeEntry> {
        let metrics = self.channels.shared_metrics();
        // Counting open files takes a while if there are very many.
        let page = spawn_blocking(move || metrics.render_text()).await.unwrap_or_default();
        let samples = MetricSamples::parse(&page);
        let name = self.channels.node().to_string();
        let broker = match self.broker.status() {
            Status::Ready => "ready".to_owned(),
            Status::Unavailable(reason) => reason.to_string(),
        };
        let entry = NodeEntry {
            host: host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker,
            draining: self.context.is_draining(),
            name: name.clone(),
            ..figures(&samples)
        };
        Part::new([(name, entry)], None)
    }
}

fn figures(samples: &MetricSamples) -> NodeEntry {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts, exact up to 2^53; a cast from a float saturates"
    )]
    let sum = |metrics: &[&str]| metrics.iter().map(|metric| samples.sum(metric)).sum::<f64>() as u64;
    NodeEntry {
        started_at: sum(&["process_start_time_seconds"]),
        connections: sum(&["yamabiko_connections"]),
        connections_limit: sum(&["yamabiko_connections_limit"]),
        channels: sum(&["yamabiko_channels"]),
        connections_opened: sum(&["yamabiko_connections_opened_total"]),
        handshakes_refused: sum(&["yamabiko_handshakes_refused_total"]),
        messages_accepted: sum(&["yamabiko_messages_accepted_total"]),
        messages_refused: sum(&["yamabiko_messages_refused_total"]),
        messages_received: sum(&["yamabiko_channel_messages_total"]),
        deliveries: sum(&["yamabiko_deliveries_total"]),
        dropped: sum(&[
            "yamabiko_broker_dropped_total",
            "yamabiko_event_stream_dropped_total",
            "yamabiko_ingest_lost_total",
            "yamabiko_ingest_rejected_total",
            "yamabiko_webhooks_dropped_total",
        ]),
        slow_consumers: sum(&["yamabiko_connections_closed_total{reason=\"slow_consumer\"}"]),
        webhooks_failed: sum(&["yamabiko_webhooks_failed_total"]),
        gate_failures: sum(&["yamabiko_gate_failures_total"]),
        cpu_seconds: samples.sum("process_cpu_seconds_total"),
        resident_bytes: sum(&["process_resident_memory_bytes"]),
        ..NodeEntry::default()
    }
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_their_metrics() {
        let page = "process_start_time_seconds 1\nyamabiko_connections 2\nyamabiko_connections_limit 3\nyamabiko_channels 4\n\
                    yamabiko_connections_opened_total 5\nyamabiko_handshakes_refused_total{reason=\"a\"} 6\n\
                    yamabiko_messages_accepted_total 7\nyamabiko_messages_refused_total{reason=\"a\"} 8\n\
                    yamabiko_broker_messages_total 100\nyamabiko_channel_messages_total{kind=\"chat\"} 4\n\
                    yamabiko_channel_messages_total{app=\"1\"} 5\nyamabiko_deliveries_total 10\n\
                    yamabiko_broker_dropped_total{reason=\"a\"} 1\nyamabiko_event_stream_dropped_total 1\n\
                    yamabiko_ingest_lost_total{reason=\"a\"} 2\nyamabiko_ingest_rejected_total{reason=\"a\"} 3\n\
                    yamabiko_webhooks_dropped_total 4\n\
                    yamabiko_connections_closed_total{reason=\"slow_consumer\"} 12\n\
                    yamabiko_connections_closed_total{reason=\"going_away\"} 100\nprocess_cpu_seconds_total 13.5\n\
                    process_resident_memory_bytes 14\n";
        let node = figures(&MetricSamples::parse(page));
        let counts = [
            node.started_at,
            node.connections,
            node.connections_limit,
            node.channels,
            node.connections_opened,
            node.handshakes_refused,
            node.messages_accepted,
            node.messages_refused,
            node.messages_received,
            node.deliveries,
            node.dropped,
            node.slow_consumers,
        ];
        assert_eq!(counts.to_vec(), (1..=12).collect::<Vec<u64>>());
        assert_eq!((node.cpu_seconds.to_string(), node.resident_bytes), ("13.5".to_owned(), 14));
    }
}
