use std::sync::Arc;

use crate::admin::Measure;
use crate::broker::Broker;
use crate::channels::Channels;
use crate::hub::Hub;
use crate::telemetry::{LevelMetrics, Metrics};

/// Measures what waits in the rooms, for the page of metrics.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    hub: Arc<Hub>,
    broker: Arc<Broker>,
    channels: Arc<Channels>,
    metrics: Arc<Metrics>,
}

impl Levels {
    pub(super) fn new(
        hub: &Arc<Hub>,
        broker: &Arc<Broker>,
        channels: &Arc<Channels>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            hub: hub.clone(),
            broker: broker.clone(),
            channels: channels.clone(),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn measure(self) -> Measure {
        let levels = Arc::new(self);
        Arc::new(move || {
            let levels = levels.clone();
            Box::pin(async move { levels.set().await })
        })
    }

    async fn set(&self) {
        let levels = &self.metrics.levels;
        let outboxes = self.hub.outbox_levels().await;
        LevelMetrics::set(&levels.outbox_bytes, outboxes.bytes);
        LevelMetrics::set(&levels.outbox_largest, outboxes.largest);
        LevelMetrics::set(&levels.outbox_connections, outboxes.connections);
        let broker = self.broker.levels();
        LevelMetrics::set(&levels.broker_inbound_bytes, broker.inbound_bytes);
        LevelMetrics::set(&levels.broker_outbound_messages, broker.outbound_messages);
        LevelMetrics::set(&levels.nodes, self.channels.node_count());
        self.channels.measure_webhooks();
    }
}
