//! What connections tell operators who watch.

use crate::hub::ConnectionId;
use crate::message::ChannelName;
use crate::protocol::pusher::Session;
use crate::telemetry::{Metrics, TailEvent, TailKind};

/// A connection has joined or left a channel.
pub(super) fn tell_subscription(
    metrics: &Metrics,
    kind: TailKind,
    session: &Session,
    connection: ConnectionId,
    channel: &ChannelName,
) {
    metrics.tail.tell(|| TailEvent {
        app: Some(session.app().credentials.id().clone()),
        channel: Some(channel.as_str().into()),
        user: session.user().map(|user| user.id.to_text().into()),
        ..tail_event(kind, connection)
    });
}

/// A message of a client was refused.
pub(super) fn tell_refused(metrics: &Metrics, connection: ConnectionId, reason: &'static str) {
    metrics
        .tail
        .tell(|| TailEvent { reason: Some(reason.into()), ..tail_event(TailKind::Refused, connection) });
}

/// An event of a connection.
pub(super) fn tail_event(kind: TailKind, connection: ConnectionId) -> TailEvent {
    TailEvent { kind, protocol: "pusher", connection: Some(connection), ..TailEvent::default() }
}
