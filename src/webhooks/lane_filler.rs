use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::lane_events::{LaneEvents, PendingLaneEvent};
use super::lease::Validity;
use super::webhook::Webhook;
use crate::broker::{LaneError, LaneEvent, LaneWriter, WEBHOOK_COMMANDS};

/// Maximum events that are added at a time.
const MAX_BATCH: usize = 500;

/// Maximum bytes that are added at a time, or one event that is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// How many events and bytes one webhook may have in Redis. Those of public channels have half of it.
const MAX_EVENTS: usize = 50_000;
const MAX_BYTES: usize = 32 << 20;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Adds events to their lanes in Redis. What Redis may have refused is added again: an event may be in its lane twice, but is not
/// missing.
///
/// `before` are events that happened before these, and that another task adds first.
pub(super) async fn fill_lanes(
    before: Option<Arc<LaneEvents>>,
    events: Arc<LaneEvents>,
    mut writer: LaneWriter,
    webhooks: Vec<Arc<Webhook>>,
) {
    if let Some(before) = before {
        before.completed().await;
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let batch = events.first(MAX_BATCH, MAX_BATCH_BYTES).await;
        if events.is_denied() {
            // Also those that were pushed at the same time.
            move_to_memory(&events, &webhooks);
            continue;
        }
        let added: Vec<_> = batch.iter().map(lane_event).collect();
        match writer.add(&added).await {
            Ok(refused) => {
                let refused = refused.into_iter().filter_map(|index| batch.get(index));
                for PendingLaneEvent { lane, event, .. } in refused {
                    if let Some(webhook) = webhooks.get(*lane) {
                        webhook.on_full(event);
                    }
                }
                events.remove(batch.len());
                events.wake_reader();
                pause = FIRST_PAUSE;
            }
            Err(LaneError::Denied) => on_denied(&events, webhooks.iter()),
            Err(error) => {
                tracing::warn!(%error, "cannot queue webhook events in Redis, retrying");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Redis denies the keys: events wait in the memory of this node from now on.
pub(super) fn on_denied<'a>(events: &LaneEvents, webhooks: impl Iterator<Item = &'a Arc<Webhook>>) {
    tracing::warn!(
        hint = format!("grant ~<redis.prefix>yamabiko:* and {WEBHOOK_COMMANDS}"),
        "webhook events denied by the Redis ACL: they wait in memory, and are lost if this node crashes"
    );
    keep_in_memory(events, webhooks);
}

/// Queues events in the memory of this node from now on.
pub(super) fn keep_in_memory<'a>(events: &LaneEvents, webhooks: impl Iterator<Item = &'a Arc<Webhook>>) {
    events.deny();
    for webhook in webhooks {
        webhook.lease.send_modify(|lease| lease.validity = Validity::Always);
    }
}

/// Moves what was queued before that.
pub(super) fn move_to_memory(events: &LaneEvents, webhooks: &[Arc<Webhook>]) {
    for PendingLaneEvent { lane, event, .. } in events.take_all() {
        if let Some(webhook) = webhooks.get(lane) {
            webhook.push_local(&event);
        }
    }
}

fn lane_event(event: &PendingLaneEvent) -> LaneEvent<'_> {
    let divisor = if event.is_public { 2 } else { 1 };
    LaneEvent {
        lane: event.lane,
        max_events: MAX_EVENTS / divisor,
        max_bytes: MAX_BYTES / divisor,
        event: &event.event.payload,
    }
}
