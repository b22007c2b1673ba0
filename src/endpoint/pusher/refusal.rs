//! Tells operators what clients are refused.

use std::sync::Arc;

use super::tail::tail_event;
use crate::hub::ConnectionId;
use crate::protocol::pusher::Refusal;
use crate::telemetry::{Metrics, Reason, TailEvent, TailKind};

/// Counts what a client is refused, and tells those who watch. A refused subscription is also logged.
pub(super) fn record_refusal(metrics: &Metrics, app: &Arc<str>, connection: ConnectionId, refusal: &Refusal) {
    let (refusals, reason, channel) = match refusal {
        Refusal::Message(reason) => (&metrics.messages_refused, reason.label(), None),
        Refusal::Subscription(channel, error) => {
            tracing::info!(
                app = &**app,
                connection,
                channel = &**channel,
                reason = error.label(),
                "subscription refused"
            );
            (&metrics.subscriptions_refused, error.label(), Some(channel))
        }
    };
    refusals.get_or_create(&Reason::new(reason)).inc();
    metrics.tail.tell(|| TailEvent {
        app: Some(app.clone()),
        channel: channel.cloned(),
        reason: Some(reason.into()),
        ..tail_event(TailKind::Refused, connection)
    });
}
