//! What nodes tell each other: the bodies of signals. `{"broadcast":{…}}` is an event,
//! `{"cluster":{"node":…,"said":…}}` is about the nodes themselves.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names;
use super::snapshot::OVERHEAD;
use crate::history::Shared;
use crate::message::{ChannelName, Member, SocketId, UserId};
use crate::presence::{Change, NodeName, Snapshot};
use crate::protocol::pusher::Broadcast;

/// A signal that is the cluster's.
#[derive(Debug)]
pub(super) enum Heard {
    Broadcast(Broadcast),
    Statement(Statement),
}

/// Something that a node says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) node: NodeName,
    /// When the node was started, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    pub(super) said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// It is there.
    Alive,
    /// It may have missed something: everybody is to tell everything.
    Ask,
    /// It is going away for good.
    Gone,
    /// What has changed on it.
    Changes(Vec<NumberedChange>),
    /// All that is on it.
    Everything { number: u64, apps: Vec<AppSnapshot> },
    /// A part of all that is on it, where that is much: as `Everything`, once all of them have come.
    Portion { number: u64, index: usize, of: usize, apps: Vec<AppSnapshot> },
    /// The last events of cache channels, for those who have not seen them.
    Cached(Vec<CachedEvent>),
    /// A user's connections are to be closed.
    Terminate { app: Arc<str>, user: UserId },
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
pub(super) struct CachedEvent {
    pub(super) app: Arc<str>,
    pub(super) channel: Arc<str>,
    pub(super) event: String,
    pub(super) data: String,
    /// For how long it has been kept, in milliseconds.
    pub(super) age: u64,
    /// It came by a topic, so that it is only for nodes that hear what is published there later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) by_topic: bool,
    /// How many events had been kept by then, as far as the node knows.
    pub(super) version: u64,
    /// The node would have heard a newer one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) certain: bool,
}

impl CachedEvent {
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
    /// How many bytes it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let member = if let Change::Join { member, .. } = &self.change { member.text_bytes() } else { 0 };
        self.channel.len() + member + OVERHEAD
    }
}

impl AppSnapshot {
    /// Of an app without anybody.
    pub(super) fn new(app: Arc<str>) -> Self {
        Self { app, members: Vec::new(), counts: Vec::new() }
    }

    pub(super) fn add_member(&mut self, channel: &ChannelName, connection: SocketId, member: Member) {
        self.members.push((channel.as_str().into(), connection, member));
    }

    pub(super) fn add_count(&mut self, channel: &ChannelName, count: u64) {
        self.counts.push((channel.as_str().into(), count));
    }

    /// What it holds; names that no node writes are left out.
    pub(super) fn into_snapshot(self) -> Snapshot {
        let name = names::read;
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

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    broadcast: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cluster: Option<&'a RawValue>,
}

/// Reads a signal. `None`: it is not the cluster's, or this version does not know it.
pub(super) fn decode(signal: &[u8]) -> Option<Heard> {
    let wire: Wire<'_> = serde_json::from_slice(signal).ok()?;
    if let Some(broadcast) = wire.broadcast {
        return Broadcast::from_json(broadcast.get().as_bytes()).ok().map(Heard::Broadcast);
    }
    serde_json::from_str(wire.cluster?.get()).ok().map(Heard::Statement)
}

/// Writes a signal that [`decode`] reads as a broadcast.
pub(super) fn broadcast(event: &Broadcast) -> Bytes {
    [b"{\"broadcast\":", &event.to_json()[..], b"}"].concat().into()
}

impl Statement {
    /// Writes a signal that [`decode`] reads as this.
    pub(super) fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Wire<'a> {
            cluster: &'a Statement,
        }
        // Texts and numbers can always be written as JSON.
        serde_json::to_vec(&Wire { cluster: self }).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::pusher::parse_member;

    #[test]
    fn golden_statements() {
        let member = parse_member(r#"{"user_id":7,"user_info":{"n":1}}"#).unwrap();
        for (said, text) in [
            (Said::Alive, r#""alive""#),
            (
                Said::Changes(vec![NumberedChange {
                    app: "1".into(),
                    number: 3,
                    channel: "presence-a".into(),
                    change: Change::Join { connection: SocketId::new(1, 2), member },
                }]),
                r#"{"changes":[{"app":"1","number":3,"channel":"presence-a","change":{"join":{"connection":"1.2","member":{"user_id":"7","user_info":"{\"n\":1}"}}}}]}"#,
            ),
            (
                Said::Terminate { app: "1".into(), user: UserId::new("a") },
                r#"{"terminate":{"app":"1","user":"a"}}"#,
            ),
        ] {
            let signal = Statement { node: "n".into(), since: 5, said }.encode();
            assert_eq!(
                std::str::from_utf8(&signal).unwrap(),
                format!(r#"{{"cluster":{{"node":"n","since":5,"said":{text}}}}}"#)
            );
            assert!(matches!(decode(&signal), Some(Heard::Statement(_))));
        }
    }

    #[test]
    fn what_is_not_the_clusters() {
        for signal in [
            r#"{"disconnect":{"user":7}}"#,
            "",
            "[]",
            r#"{"broadcast":{}}"#,
            r#"{"cluster":{"node":"n","since":5,"said":"later"}}"#,
        ] {
            assert!(decode(signal.as_bytes()).is_none(), "{signal}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_can_hurt(signal in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&signal);
        }
    }
}
