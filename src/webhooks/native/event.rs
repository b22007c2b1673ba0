//! The events of native channels and their encoding.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Deserialize;

use crate::message::json::{members, quoted, string};
use crate::message::{ChannelName, Position, Sender, UserId, portable_json};
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::unix_time::unix_time;

/// The kind of an event of native channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeEventKind {
    Connected,
    Disconnected,
    Message,
    ChannelOccupied,
    ChannelVacated,
    UserOnline,
    UserOffline,
}

impl NativeEventKind {
    pub const ALL: [Self; 7] = [
        Self::Connected,
        Self::Disconnected,
        Self::Message,
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::UserOnline,
        Self::UserOffline,
    ];

    /// The name on the wire and in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Message => "message",
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::UserOnline => "user_online",
            Self::UserOffline => "user_offline",
        }
    }

    /// Those that only the engine notices, as bits.
    pub(super) const OF_ENGINE: u8 = Self::ChannelOccupied.bit()
        | Self::ChannelVacated.bit()
        | Self::UserOnline.bit()
        | Self::UserOffline.bit();

    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Encodes the events of this node, each with an ID of its own.
#[derive(Debug)]
pub(super) struct EventEncoder {
    /// Distinguishes the nodes, and the runs of a node.
    node: String,
    next: AtomicU64,
}

impl EventEncoder {
    pub(super) fn new() -> Self {
        Self { node: format!("{:016x}", rand::random::<u64>()), next: AtomicU64::new(1) }
    }

    /// A name for a connection of this node that no other one has.
    fn connection(&self, id: u64) -> String {
        format!("{}.{id}", self.node)
    }

    pub(super) fn connected(&self, connection: u64, channel: &ChannelName, user: &Sender) -> Bytes {
        let rest = format!(r#""connection":"{}","user":{}"#, self.connection(connection), encode_user(user));
        self.encode(NativeEventKind::Connected, channel, &[rest.as_bytes()])
    }

    pub(super) fn disconnected(
        &self,
        connection: u64,
        channel: &ChannelName,
        user: &Sender,
        (reason, code): (&str, u16),
    ) -> Bytes {
        let rest = format!(
            r#""connection":"{}","user":{},"reason":"{reason}","code":{code}"#,
            self.connection(connection),
            encode_user(user)
        );
        self.encode(NativeEventKind::Disconnected, channel, &[rest.as_bytes()])
    }

    pub(super) fn message(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        data: &[u8],
        position: Option<Position>,
        trace: Option<&TraceContext>,
    ) -> Bytes {
        let id = position.map(|position| format!(r#""id":"{position}","#)).unwrap_or_default();
        let trace = trace.map(|trace| format!(r#""{TRACEPARENT}":"{trace}","#)).unwrap_or_default();
        let start = format!(r#"{id}{trace}"sender":{},"data":"#, encode_user(sender));
        self.encode(NativeEventKind::Message, channel, &[start.as_bytes(), &portable_json(data)])
    }

    /// An event about a channel, or about a user on it.
    pub(super) fn presence(
        &self,
        kind: NativeEventKind,
        channel: &ChannelName,
        user: Option<&UserId>,
    ) -> Bytes {
        match user {
            None => self.encode(kind, channel, &[]),
            Some(user) => {
                let user = user.with_json(|id| format!(r#""user":{{"id":{id}}}"#));
                self.encode(kind, channel, &[user.as_bytes()])
            }
        }
    }

    fn encode(&self, kind: NativeEventKind, channel: &ChannelName, rest: &[&[u8]]) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = format!(
            r#"{{"event":"{}","event_id":"{}-{number}","time_ms":{},"channel":{}"#,
            kind.name(),
            self.node,
            unix_time().as_millis(),
            quoted(channel.as_str())
        )
        .into_bytes();
        for (index, part) in rest.iter().enumerate() {
            if index == 0 {
                text.push(b',');
            }
            text.extend_from_slice(part);
        }
        text.push(b'}');
        text.into()
    }
}

/// The trace that an encoded event belongs to, if it is traced.
pub(super) fn trace_of(event: &[u8]) -> Option<TraceContext> {
    let [trace] = members(std::str::from_utf8(event).ok()?, [TRACEPARENT]).ok()?;
    TraceContext::read_sampled(&string(trace?)?)
}

fn encode_user(user: &Sender) -> String {
    let name = quoted(&user.name);
    user.id.with_json(|id| format!(r#"{{"name":{name},"id":{id}}}"#))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn events_are_json_with_ids_of_their_own() {
        let encoder = EventEncoder::new();
        let (channel, user) =
            (ChannelName::new("chat:\"1\"").unwrap(), Sender { name: "A\"oi".into(), id: 7.into() });
        let (node, named) = (encoder.node.clone(), json!({ "name": "A\"oi", "id": 7 }));
        let check = |number: u64, event: &[u8], expected: Value| {
            let mut event: Value = serde_json::from_slice(event).unwrap();
            assert!(event["time_ms"].as_u64().unwrap() > 1_700_000_000_000);
            event.as_object_mut().unwrap().remove("time_ms");
            let mut expected = expected;
            expected["event_id"] = json!(format!("{node}-{number}"));
            expected["channel"] = json!("chat:\"1\"");
            assert_eq!(event, expected);
        };
        let connection = format!("{node}.3");
        check(
            1,
            &encoder.connected(3, &channel, &user),
            json!({ "event": "connected", "connection": connection, "user": named }),
        );
        check(
            2,
            &encoder.disconnected(3, &channel, &user, ("client_closed", 1000)),
            json!({ "event": "disconnected", "connection": connection, "user": named, "reason": "client_closed", "code": 1000 }),
        );
        check(
            3,
            &encoder.message(&channel, &user, b"{\"a\":1}", None, None),
            json!({ "event": "message", "sender": named, "data": { "a": 1 } }),
        );
        check(
            4,
            &encoder.message(&channel, &user, b"{}", "9f3c20-17".parse().ok(), None),
            json!({ "event": "message", "id": "9f3c20-17", "sender": named, "data": {} }),
        );
        check(
            5,
            &encoder.presence(NativeEventKind::ChannelVacated, &channel, None),
            json!({ "event": "channel_vacated" }),
        );
        check(
            6,
            &encoder.presence(NativeEventKind::UserOnline, &channel, Some(&UserId::new("x"))),
            json!({ "event": "user_online", "user": { "id": "x" } }),
        );
    }

    #[test]
    fn a_traced_message_names_its_trace() {
        let encoder = EventEncoder::new();
        let (channel, user) = (ChannelName::new("a").unwrap(), Sender { name: "A".into(), id: 7.into() });
        let trace = TraceContext::root();
        let event = encoder.message(&channel, &user, b"{\"traceparent\":\"7\"}", None, Some(&trace));
        let read: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(read["traceparent"], trace.to_string());
        assert_eq!(trace_of(&event), Some(trace));
        let event = encoder.message(&channel, &user, b"{\"traceparent\":\"7\"}", None, None);
        assert_eq!(trace_of(&event), None);
    }

    #[test]
    fn names_are_those_of_the_settings() {
        for kind in NativeEventKind::ALL {
            let read: NativeEventKind = serde_json::from_value(kind.name().into()).unwrap();
            assert_eq!(read, kind);
        }
    }
}
