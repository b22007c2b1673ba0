//! The history of a run: what was sent, what each connection received, and when each part was disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Microseconds since the start of the run.
pub(super) type Micros = u64;

/// A message: the publisher's number and the publisher's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MessageId {
    pub(super) publisher: u16,
    pub(super) number: u32,
}

/// How a message reaches the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Native,
    ClientEvent,
    Http,
    RedisBroadcast,
    RedisTopic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Acknowledged.
    Accepted(Micros),
    /// Answered "not sent, try again later".
    Refused(Micros),
    /// Invalid: it must never be delivered.
    Rejected,
    /// No answer, or one that leaves it open: delivered at most once.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: MessageId,
    pub(super) route: Route,
    /// The node that took it; none for what is published on Redis directly.
    pub(super) node: Option<usize>,
    /// The publisher's connection where it sends without waiting for answers, so that the connection is its order.
    pub(super) connection: Option<usize>,
    pub(super) channels: Vec<String>,
    /// The connection that is left out.
    pub(super) except: Option<usize>,
    pub(super) at: Micros,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// On the channel; with the members of a presence channel.
    Joined(Option<BTreeSet<u64>>),
    /// The client has asked to leave.
    Left,
    Delivered(MessageId),
    /// The last event of a cache channel, as part of the answer to the subscription.
    Replayed(MessageId),
    Added(u64),
    Removed(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: Micros,
    pub(super) channel: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client went.
    Client,
    /// The server closed, or the connection broke.
    Server(String),
}

/// One connection of a client.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: String,
    pub(super) node: usize,
    pub(super) user: Option<u64>,
    pub(super) socket_id: Option<String>,
    pub(super) ended: Option<(Micros, Ending)>,
    pub(super) events: Vec<Event>,
}

/// The part that a fault disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The process of a node: its connections may end.
    Process(usize),
    /// A node's connections to Redis.
    Link(usize),
    /// Redis, and so every node.
    Redis,
}

/// The time in which a fault disturbs its target, until the target has been seen to work again.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) target: Target,
    pub(super) fault: String,
    /// An answer can be lost although the message was carried.
    pub(super) loses_answers: bool,
    pub(super) from: Micros,
    /// The fault itself is over.
    pub(super) healed: Option<Micros>,
    pub(super) to: Option<Micros>,
}

/// The responses of a node at the end of the run.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeView {
    pub(super) ready: bool,
    pub(super) connections: u64,
    pub(super) members: BTreeMap<String, BTreeSet<u64>>,
    pub(super) subscriptions: BTreeMap<String, u64>,
    pub(super) caches: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) sent: Vec<Sent>,
    pub(super) connections: Vec<Connection>,
    pub(super) windows: Vec<Window>,
    /// An observed action that no client or process may take.
    pub(super) notes: Vec<String>,
    pub(super) finals: Vec<NodeView>,
}

impl MessageId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (publisher, number) = text.strip_prefix('p')?.split_once('-')?;
        Some(Self { publisher: publisher.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}-{}", self.publisher, self.number)
    }
}

impl Event {
    /// Whether it brings one of these messages.
    pub(super) fn is_one_of(&self, ids: &[MessageId]) -> bool {
        matches!(&self.what, What::Delivered(id) | What::Replayed(id) if ids.contains(id))
    }
}

impl Window {
    pub(super) fn overlaps(&self, from: Micros, to: Micros) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }

    /// Whether it disturbs what this node does.
    pub(super) fn touches(&self, node: usize) -> bool {
        match self.target {
            Target::Process(of) | Target::Link(of) => of == node,
            Target::Redis => true,
        }
    }
}

impl Connection {
    /// The times in which it is on the channel.
    pub(super) fn stays(&self, channel: &str) -> Vec<(Micros, Micros)> {
        let end = self.ended.as_ref().map_or(Micros::MAX, |(at, _)| *at);
        let mut stays: Vec<(Micros, Micros)> = Vec::new();
        for event in self.events.iter().filter(|event| event.channel == channel) {
            match event.what {
                What::Joined(_) => stays.push((event.at, end)),
                What::Left => {
                    if let Some(stay) = stays.last_mut() {
                        stay.1 = stay.1.min(event.at);
                    }
                }
                _ => {}
            }
        }
        stays
    }

    /// The channels that it is on when all is over.
    pub(super) fn channels(&self) -> BTreeSet<&str> {
        let mut channels = BTreeSet::new();
        if self.ended.is_some() {
            return channels;
        }
        for event in &self.events {
            match event.what {
                What::Joined(_) => channels.insert(event.channel.as_str()),
                What::Left => channels.remove(event.channel.as_str()),
                _ => false,
            };
        }
        channels
    }

    /// The members of a presence channel as this connection received them.
    pub(super) fn members(&self, channel: &str) -> BTreeSet<u64> {
        let mut members = BTreeSet::new();
        for event in self.events.iter().filter(|event| event.channel == channel) {
            match &event.what {
                What::Joined(list) => members = list.clone().unwrap_or_default(),
                What::Left => members.clear(),
                What::Added(user) => _ = members.insert(*user),
                What::Removed(user) => _ = members.remove(user),
                What::Delivered(_) | What::Replayed(_) => {}
            }
        }
        members
    }
}

impl History {
    /// How many open connections are on each channel.
    pub(super) fn subscriptions(&self) -> BTreeMap<&str, u64> {
        let mut subscriptions = BTreeMap::new();
        for connection in &self.connections {
            for channel in connection.channels() {
                *subscriptions.entry(channel).or_default() += 1;
            }
        }
        subscriptions
    }

    /// The users whose connections are on a presence channel.
    pub(super) fn members(&self, channel: &str) -> BTreeSet<u64> {
        let here = self.connections.iter().filter(|connection| connection.channels().contains(channel));
        here.filter_map(|connection| connection.user).collect()
    }
}

/// A time as it is printed.
pub(super) fn seconds(at: Micros) -> String {
    if at == Micros::MAX {
        return "the end".to_owned();
    }
    format!("{}.{:06}", at / 1_000_000, at % 1_000_000)
}
