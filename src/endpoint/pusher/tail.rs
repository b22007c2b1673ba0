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

/// An event of a connection.
pub(super) fn tail_event(kind: TailKind, connection: ConnectionId) -> TailEvent {
    TailEvent { kind, protocol: "pusher", connection: Some(connection), ..TailEvent::default() }
}
