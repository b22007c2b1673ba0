use std::sync::Arc;

use super::Settings;
use super::event_stream::fill_event_stream;
use crate::broker::Broker;
use crate::protocol::pusher::Apps;
use crate::telemetry::Metrics;
use crate::webhooks::{NativeEvents, Webhooks};

/// The webhooks of the settings, and the event stream. `before` is what they replace. Needs a tokio runtime.
pub(super) fn start_webhooks(
    settings: &Settings,
    apps: &Apps,
    broker: &Broker,
    metrics: &Arc<Metrics>,
    before: Option<&NativeEvents>,
) -> Webhooks {
    let webhooks = Webhooks::start(apps, &settings.webhooks, &settings.events, broker, metrics);
    if let Some(events) = webhooks.native()
        && let Some(queue) = events.stream()
        && let Some(stream) = broker.event_stream(settings.events.stream_entries)
    {
        let before = before.and_then(|before| before.stream().cloned());
        events.run_until_finished(fill_event_stream(before, queue.clone(), stream, metrics.clone()));
    }
    webhooks
}
