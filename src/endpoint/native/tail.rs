use crate::hub::ConnectionId;
use crate::message::{ChannelName, UserId};
use crate::telemetry::{TailEvent, TailKind};

/// An event of a connection, for operators who watch.
pub(super) fn tail_event(
    kind: TailKind,
    connection: ConnectionId,
    user: &UserId,
    channel: Option<&ChannelName>,
) -> TailEvent {
    TailEvent {
        kind,
        protocol: "native",
        connection: Some(connection),
        user: Some(user.to_text().into()),
        channel: channel.map(|channel| channel.as_str().into()),
        ..TailEvent::default()
    }
}
