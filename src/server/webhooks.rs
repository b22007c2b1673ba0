use std::sync::Arc;

use super::Settings;
use super::event_stream::fill_event_stream;
use crate::broker::Broker;
use crate::protocol::pusher::Apps;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;

/// The webhooks of the settings, and the event stream. `before` is what they replace. Needs a tokio runtime.
pub(super) fn start_webhooks(
    settings: &Settings,
    apps: &Apps,
    broker: &Broker,
    metrics: &Arc<Metrics>,
    before: Option<&Webhooks>,
) -> Webhooks {
    let webhooks = Webhooks::start(apps, &settings.webhooks, &settings.events, broker, metrics, before);
    if let Some(queue) = webhooks.native().and_then(|events| events.stream())
        && let Some(stream) = broker.event_stream()
    {
        queue.fill(|| fill_event_stream(queue.clone(), stream, metrics.clone()));
    }
    webhooks
}
