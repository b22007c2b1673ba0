//! The messages between nodes, as one tagged enum in the [envelope](crate::cluster::Envelope) of the cluster.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::reserved_channels;
use crate::cluster::Message;
use crate::history::Shared;
use crate::message::{Broadcast, ChannelName, Member, NodeName, SocketId, UserId};
use crate::presence::{Change, Reported, Snapshot};

/// The JSON overhead of an entry in addition to its texts, in bytes.
pub(super) const OVERHEAD: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterMessage {
    /// Deliver an event to the subscribers of its channels.
    Event(Broadcast),
    /// The connections and members of the sender have changed.
    Changes(Vec<NumberedChange>),
    /// The sender is alive.
    Heartbeat,
    /// The sender may have missed messages: every node must send a snapshot.
    SnapshotRequest,
    /// The complete state of the sender.
    Snapshot { number: u64, apps: Vec<AppSnapshot> },
    /// A part of the sender's state, if that is too large for one message. The snapshot is complete when all parts have arrived.
    SnapshotPart { number: u64, index: usize, of: usize, apps: Vec<AppSnapshot> },
    /// The last events of cache channels, for nodes that have missed them.
    LastEvents(Vec<LastEventOf>),
    /// Close the connections of a user.
    Terminate { app: Arc<str>, user: UserId },
    /// The sender leaves for good.
    Leave,
    /// The sender leaves for good, and its members are expected to join on other nodes within this many milliseconds: until then
    /// they stay.
    LeaveLingering(u64),
    /// What is left of a node that has left, for nodes that were started since. In parts.
    Lingering { node: NodeName, since: u64, linger: u64, apps: Vec<AppSnapshot> },
    /// The page of a session has connected to the sender: who has it, gives it up.
    SessionClaim { of: NodeName, session: String },
    /// The answer to a claim.
    SessionAnswer {
        to: NodeName,
        session: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_use: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given_up: Option<String>,
    },
    /// The sender is about to shut down and asks whether any node stays.
    Probe,
    /// The sender stays.
    ProbeReply { to: NodeName },
    /// The sender asks all nodes for a part of a list.
    Query { id: u64, query: String },
    /// The answer to a query.
    QueryReply { to: NodeName, id: u64, reply: String },
}

impl Message for ClusterMessage {
    const KINDS: &'static [&'static str] = &[
        "event",
        "changes",
        "heartbeat",
        "snapshot_request",
        "snapshot",
        "snapshot_part",
        "last_events",
        "terminate",
        "leave",
        "leave_lingering",
        "lingering",
        "session_claim",
        "session_answer",
        "probe",
        "probe_reply",
        "query",
        "query_reply",
    ];
}

/// [`ClusterMessage::Event`] without a copy of the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventMessage<'a> {
    Event(&'a Broadcast),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NumberedChange {
    pub(super) app: Arc<str>,
    pub(super) number: u64,
    pub(super) channel: Arc<str>,
    pub(super) change: Change,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AppSnapshot {
    pub(super) app: Arc<str>,
    members: Vec<(Arc<str>, SocketId, Member)>,
    counts: Vec<(Arc<str>, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LastEventOf {
    pub(super) app: Arc<str>,
    pub(super) channel: Arc<str>,
    pub(super) event: String,
    pub(super) data: String,
    /// Its age in milliseconds.
    pub(super) age: u64,
    /// It arrived by a topic, so that only nodes that are subscribed to the topic would receive the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) by_topic: bool,
    /// How many events the channel had kept by then, as far as the sender knows.
    pub(super) version: u64,
    /// The sender has missed nothing since: it would have received a newer one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) certain: bool,
}

impl ClusterMessage {
    pub(super) fn is_snapshot(&self) -> bool {
        matches!(self, Self::Snapshot { .. } | Self::SnapshotPart { .. })
    }
}

impl LastEventOf {
    pub(super) fn new(app: &Arc<str>, shared: &Shared<'_>) -> Self {
        Self {
            app: app.clone(),
            channel: shared.channel.as_str().into(),
            event: shared.event.to_owned(),
            data: shared.data.to_owned(),
            age: shared.age,
            by_topic: shared.by_topic,
            version: shared.knowledge.version,
            certain: shared.knowledge.certain,
        }
    }
}

impl NumberedChange {
    /// Its approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let member = if let Change::Join { member, .. } = &self.change { member.text_bytes() } else { 0 };
        self.channel.len() + member + OVERHEAD
    }
}

impl AppSnapshot {
    /// Of an app without connections.
    pub(super) fn new(app: Arc<str>) -> Self {
        Self { app, members: Vec::new(), counts: Vec::new() }
    }

    pub(super) fn add(&mut self, entry: Reported) {
        match entry {
            Reported::Member(channel, connection, member) => self.add_member(&channel, connection, member),
            Reported::Count(channel, count) => self.add_count(&channel, count),
        }
    }

    pub(super) fn add_member(&mut self, channel: &ChannelName, connection: SocketId, member: Member) {
        self.members.push((channel.as_str().into(), connection, member));
    }

    pub(super) fn add_count(&mut self, channel: &ChannelName, count: u64) {
        self.counts.push((channel.as_str().into(), count));
    }

    /// Its contents, without invalid names, which no node writes.
    pub(super) fn into_snapshot(self) -> Snapshot {
        let name = reserved_channels::read;
        Snapshot {
            members: self
                .members
                .into_iter()
                .filter_map(|(text, id, member)| Some((name(&text)?, id, member)))
                .collect(),
            counts: self.counts.into_iter().filter_map(|(text, count)| Some((name(&text)?, count))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Decoded, Ignored, decode, encode};

    /// One of each kind, with its bytes.
    fn all() -> Vec<(ClusterMessage, &'static str)> {
        let member = Member { user_id: UserId::new("7"), user_info: Some(r#"{"n":1}"#.into()) };
        let name = |text: &str| ChannelName::new(text).unwrap();
        let mut app = AppSnapshot::new("1".into());
        app.add_member(&name("presence-a"), SocketId::new(1, 2), member.clone());
        app.add_count(&name("b"), 3);
        let change = NumberedChange {
            app: "1".into(),
            number: 3,
            channel: "presence-a".into(),
            change: Change::Join { connection: SocketId::new(1, 2), member },
        };
        let leave = NumberedChange {
            app: "1".into(),
            number: 4,
            channel: "presence-a".into(),
            change: Change::Leave { connection: SocketId::new(1, 2) },
        };
        let count =
            NumberedChange { app: "1".into(), number: 5, channel: "b".into(), change: Change::Count(2) };
        let event = Broadcast {
            app: "1".into(),
            channels: vec![name("b")],
            event: "e".into(),
            data: "{}".into(),
            except: None,
            user_id: None,
            trace: None,
        };
        let last = LastEventOf {
            app: "1".into(),
            channel: "cache-a".into(),
            event: "e".into(),
            data: "{}".into(),
            age: 5,
            by_topic: false,
            version: 6,
            certain: true,
        };
        vec![
            (
                ClusterMessage::Event(event),
                r#"{"event":{"app":"1","channels":["b"],"event":"e","data":"{}"}}"#,
            ),
            (
                ClusterMessage::Changes(vec![change, leave, count]),
                r#"{"changes":[{"app":"1","number":3,"channel":"presence-a","change":{"join":{"connection":"1.2","member":{"user_id":"7","user_info":"{\"n\":1}"}}}},{"app":"1","number":4,"channel":"presence-a","change":{"leave":{"connection":"1.2"}}},{"app":"1","number":5,"channel":"b","change":{"count":2}}]}"#,
            ),
            (ClusterMessage::Heartbeat, r#""heartbeat""#),
            (ClusterMessage::SnapshotRequest, r#""snapshot_request""#),
            (
                ClusterMessage::Snapshot { number: 7, apps: vec![app] },
                r#"{"snapshot":{"number":7,"apps":[{"app":"1","members":[["presence-a","1.2",{"user_id":"7","user_info":"{\"n\":1}"}]],"counts":[["b",3]]}]}}"#,
            ),
            (
                ClusterMessage::SnapshotPart { number: 7, index: 1, of: 3, apps: Vec::new() },
                r#"{"snapshot_part":{"number":7,"index":1,"of":3,"apps":[]}}"#,
            ),
            (
                ClusterMessage::LastEvents(vec![last]),
                r#"{"last_events":[{"app":"1","channel":"cache-a","event":"e","data":"{}","age":5,"version":6,"certain":true}]}"#,
            ),
            (
                ClusterMessage::Terminate { app: "1".into(), user: UserId::new("a") },
                r#"{"terminate":{"app":"1","user":"a"}}"#,
            ),
            (ClusterMessage::Leave, r#""leave""#),
            (ClusterMessage::LeaveLingering(15_000), r#"{"leave_lingering":15000}"#),
            (
                ClusterMessage::Lingering { node: "o".into(), since: 4, linger: 9, apps: Vec::new() },
                r#"{"lingering":{"node":"o","since":4,"linger":9,"apps":[]}}"#,
            ),
            (
                ClusterMessage::SessionClaim { of: "n".into(), session: "s".into() },
                r#"{"session_claim":{"of":"n","session":"s"}}"#,
            ),
            (
                ClusterMessage::SessionAnswer {
                    to: "n".into(),
                    session: "s".into(),
                    in_use: false,
                    given_up: Some("x".into()),
                },
                r#"{"session_answer":{"to":"n","session":"s","given_up":"x"}}"#,
            ),
            (ClusterMessage::Probe, r#""probe""#),
            (ClusterMessage::ProbeReply { to: "n".into() }, r#"{"probe_reply":{"to":"n"}}"#),
            (ClusterMessage::Query { id: 7, query: "{}".into() }, r#"{"query":{"id":7,"query":"{}"}}"#),
            (
                ClusterMessage::QueryReply { to: "n".into(), id: 7, reply: "[]".into() },
                r#"{"query_reply":{"to":"n","id":7,"reply":"[]"}}"#,
            ),
        ]
    }

    #[test]
    fn the_bytes_on_the_wire() {
        for (message, text) in all() {
            let signal = encode(&"n".into(), 5, &message);
            assert_eq!(
                std::str::from_utf8(&signal).unwrap(),
                format!(r#"{{"version":1,"node":"n","since":5,"message":{text}}}"#)
            );
            let Ok(Decoded::Message(envelope)) = decode::<ClusterMessage>(&signal) else { panic!("{text}") };
            assert_eq!(serde_json::to_string(&envelope.message).unwrap(), text);
        }
    }

    #[test]
    fn an_event_is_encoded_without_a_copy() {
        let (message, text) = all().remove(0);
        let ClusterMessage::Event(event) = message else { panic!() };
        assert_eq!(serde_json::to_string(&EventMessage::Event(&event)).unwrap(), text);
    }

    #[test]
    fn every_kind_is_known() {
        let kinds: Vec<String> =
            all().into_iter().map(|(_, text)| text.split('"').nth(1).unwrap().to_owned()).collect();
        assert_eq!(kinds, ClusterMessage::KINDS);
        for kind in kinds {
            let signal = format!(r#"{{"version":1,"node":"n","since":5,"message":{{"{kind}":[7,7]}}}}"#);
            assert!(!matches!(decode::<ClusterMessage>(signal.as_bytes()), Err(Ignored::UnknownKind(_))));
        }
    }
}
