use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{WebhookLabel, WebhookQueueLabel};

/// What is measured when the page of metrics is read, and costs nothing before. Part of [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub struct LevelMetrics {
    /// Bytes that wait in the outboxes of all connections.
    pub outbox_bytes: Gauge,
    /// Bytes in the outbox that has the most.
    pub outbox_largest: Gauge,
    /// Connections with bytes that the kernel has not taken yet.
    pub outbox_connections: Gauge,
    /// Bytes of messages that have arrived from the broker, or were accepted in memory, and are not written yet.
    pub broker_inbound_bytes: Gauge,
    /// Messages of this node whose own copy is not back.
    pub broker_outbound_messages: Gauge,
    /// Nodes that this node knows, with itself.
    pub nodes: Gauge,
    /// Events in the memory of this node that wait for a webhook.
    pub webhook_queue_events: Family<WebhookQueueLabel, Gauge>,
    /// Events in Redis that wait for a webhook, of all nodes.
    pub webhook_redis_events: Family<WebhookLabel, Gauge>,
    /// Events that wait for the event stream.
    pub event_stream_queue_events: Gauge,
}

impl LevelMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("outbox_bytes", "Bytes that wait for all connections", &metrics.outbox_bytes);
        gauge(
            "outbox_largest_bytes",
            "Bytes that wait for the connection that is the furthest behind",
            &metrics.outbox_largest,
        );
        gauge("outbox_connections", "Connections for which bytes wait", &metrics.outbox_connections);
        gauge(
            "broker_inbound_bytes",
            "Bytes of messages that wait for fan-out, of limits.queue_bytes",
            &metrics.broker_inbound_bytes,
        );
        gauge(
            "broker_outbound_messages",
            "Messages of this node that Redis has not sent back yet",
            &metrics.broker_outbound_messages,
        );
        gauge("nodes", "Nodes that this node knows, with itself", &metrics.nodes);
        gauge(
            "event_stream_queue_events",
            "Events that wait for the event stream",
            &metrics.event_stream_queue_events,
        );
        registry.register(
            "webhook_queue_events",
            "Events in the memory of this node that wait for a webhook",
            metrics.webhook_queue_events.clone(),
        );
        registry.register(
            "webhook_redis_events",
            "Events in Redis that wait for a webhook, of all nodes",
            metrics.webhook_redis_events.clone(),
        );
        metrics
    }

    /// Forgets the series of webhooks that there may not be any more. They are back with the next measurement.
    pub fn forget_webhooks(&self) {
        self.webhook_queue_events.clear();
        self.webhook_redis_events.clear();
    }

    /// Sets a gauge to a size.
    pub fn set(gauge: &Gauge, size: usize) {
        gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
    }
}
