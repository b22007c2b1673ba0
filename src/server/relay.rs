use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::broker::Inbound;
use crate::channels::Channels;
use crate::hub::Hub;
use crate::message::{Dispatch, Event};
use crate::protocol::native::Native;
use crate::telemetry::{Metrics, Reason, RemovedKeys, logged};

/// Maximum dispatches taken from the broker at a time.
const BATCH: usize = 256;

/// Carries what the broker delivers through the protocol's encoding into the hub: the one way to a subscriber.
/// Ends with the broker's stream.
pub(super) async fn relay(
    mut inbound: UnboundedReceiver<Inbound>,
    native: Arc<Native>,
    hub: Arc<Hub>,
    channels: Arc<Channels>,
    metrics: Arc<Metrics>,
) {
    let mut removed_keys = RemovedKeys::new(metrics.clone(), native.kinds_with_fields());
    let mut batch = Vec::with_capacity(BATCH);
    while inbound.recv_many(&mut batch, BATCH).await > 0 {
        for inbound in batch.drain(..) {
            let (dispatch, permit) = match inbound {
                Inbound::Dispatch { dispatch, permit } => (dispatch, permit),
                Inbound::Subscribed(subscription) => {
                    channels.handle_subscribed(&subscription);
                    continue;
                }
                Inbound::Resumed => {
                    channels.handle_resumed();
                    continue;
                }
            };
            match dispatch {
                Dispatch::Event(event) => deliver(&event, permit, &native, &hub, &metrics, &mut removed_keys),
                Dispatch::Signal(signal) => channels.handle_signal(&signal, permit),
                Dispatch::Topic { topic, payload } => channels.handle_topic(&topic, &payload, permit),
            }
        }
    }
}

fn deliver(
    event: &Event,
    permit: OwnedSemaphorePermit,
    native: &Native,
    hub: &Hub,
    metrics: &Metrics,
    removed_keys: &mut RemovedKeys,
) {
    hub.publish_at(&event.channel, event.position, permit, |_| {
        let mut removed_by = None;
        let delivery = native.deliver(event, |kind, key| {
            removed_keys.count(kind, key);
            removed_by = Some(kind);
        });
        if let Some(kind) = removed_by {
            removed_keys.log(kind, event.channel.as_str());
        }
        let dropped = match delivery {
            Ok((_, frame)) if frame.bytes().len() > hub.outbox_bytes() => "too_large",
            Ok(delivery) => return Some(delivery),
            Err(_) => "invalid_target",
        };
        metrics.broker_dropped.get_or_create(&Reason::new(dropped)).inc();
        tracing::warn!(
            channel = event.channel.as_str(),
            sender = logged(event.sender.id.form()),
            reason = dropped,
            "message dropped"
        );
        None
    });
}
