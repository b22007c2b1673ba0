//! The record of a run: what was sent, what each page received over all its connections, and what was disturbed when.

use std::collections::BTreeMap;
use std::fmt;

use super::super::history::{MessageId, Micros, seconds};
use super::super::schedule::NODES;
use super::checker::SLACK;

/// How a message is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// Once.
    Http,
    /// With an idempotency key, until it is accepted.
    HttpRetried,
    /// By a native client, once.
    Native,
    /// By a native client with a `ref`, until it is accepted.
    NativeRetried,
    /// A plain `PUBLISH` of a native message.
    Broadcast,
    /// A plain `PUBLISH`, as Laravel's redis driver does it.
    Driver,
    /// `XADD` to the stream for ingest.
    Ingest,
}

/// What the publisher was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted(Micros),
    /// Not sent, try again later.
    Refused(Micros),
    /// Invalid: it must never be delivered.
    Rejected,
    /// No answer: delivered at most once.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: MessageId,
    pub(super) route: Route,
    pub(super) channels: Vec<String>,
    /// The node that was asked; none for what is published on Redis.
    pub(super) node: Option<usize>,
    /// The page that is left out, as long as it has this socket id.
    pub(super) except: Option<(usize, String)>,
    pub(super) at: Micros,
    pub(super) outcome: Outcome,
}

/// What a page is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Exactly once, by the native protocol.
    Native,
    /// At least once: pusher-js as it is.
    Unmodified,
    /// Exactly once: pusher-js with the plugin.
    Plugin,
}

/// Where a message is in the history of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Connected {
        node: Option<usize>,
        /// Of the Pusher protocol.
        socket_id: Option<String>,
    },
    /// Without a position to go on from, it is `fresh`: what was before is not promised.
    Subscribed {
        channel: String,
        fresh: bool,
    },
    Message {
        channel: String,
        id: MessageId,
        position: Option<Position>,
    },
    Gap {
        channel: String,
    },
    Recovered {
        channel: String,
        count: u64,
    },
    /// The page has asked the application for a signature.
    Authorized {
        channel: String,
    },
    /// The subscription was refused. pusher-js does not repeat it before its next connection.
    Refused {
        channel: String,
        error: String,
    },
    /// A member of a presence channel has gone, as the page was told.
    Removed {
        channel: String,
        user: String,
    },
    Disconnected(String),
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: Micros,
    pub(super) what: What,
}

/// One page over all its connections.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) level: Level,
    pub(super) user: String,
    pub(super) channels: Vec<String>,
    pub(super) events: Vec<Event>,
}

/// What a fault disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A process that ends without notice.
    Killed(usize),
    /// A process that is asked to end.
    Stopped(usize),
    /// A process that stands still.
    Frozen(usize),
    /// A node's connections to Redis.
    Link(usize),
    /// A node that Redis disconnects because it has read too slowly: it can connect again at once.
    Overflow(usize),
    /// Redis, with what it keeps.
    Redis,
    /// What Redis keeps.
    Store,
    /// The line of a page.
    Line(usize),
    Lines,
}

/// The time from the start of a fault until its target has been seen to work again.
#[derive(Debug, Clone)]
pub(super) struct Disturbance {
    pub(super) target: Target,
    pub(super) fault: String,
    pub(super) from: Micros,
    /// The fault itself is over.
    pub(super) healed: Option<Micros>,
    pub(super) to: Option<Micros>,
}

/// How much is kept of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) messages: usize,
    pub(super) age: Micros,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) sent: Vec<Sent>,
    pub(super) pages: Vec<Page>,
    pub(super) disturbances: Vec<Disturbance>,
    /// By channel.
    pub(super) kept: BTreeMap<String, Kept>,
    /// How long the session of a page is kept that has gone.
    pub(super) window: Micros,
    /// The messages that ended the run. Each page is due to receive one on each of its channels.
    pub(super) marks: Vec<MessageId>,
    /// What no client and no process may do.
    pub(super) notes: Vec<String>,
}

impl Route {
    /// Whether an acknowledgement means that it is stored.
    pub(super) fn is_direct(self) -> bool {
        !matches!(self, Self::Broadcast | Self::Driver | Self::Ingest)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::HttpRetried => "HTTP, retried",
            Self::Native => "native",
            Self::NativeRetried => "native, retried",
            Self::Broadcast => "PUBLISH",
            Self::Driver => "redis driver",
            Self::Ingest => "XADD",
        }
    }
}

impl Position {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.rsplit_once('-')?;
        Some(Self { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl Target {
    /// Whether it disturbs what this node does.
    pub(super) fn touches(self, node: usize) -> bool {
        match self {
            Self::Killed(of) | Self::Stopped(of) | Self::Frozen(of) | Self::Link(of) | Self::Overflow(of) => {
                of == node
            }
            Self::Redis | Self::Store => true,
            Self::Line(_) | Self::Lines => false,
        }
    }
}

impl Disturbance {
    pub(super) fn overlaps(&self, from: Micros, to: Micros) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

impl Sent {
    /// Whether a page with this socket id is left out.
    pub(super) fn leaves_out(&self, page: usize, socket_id: Option<&str>) -> bool {
        self.except.as_ref().is_some_and(|(of, id)| *of == page && Some(id.as_str()) == socket_id)
    }
}

impl Page {
    /// Its socket id at a time.
    pub(super) fn socket_id(&self, at: Micros) -> Option<&str> {
        let mut events = self.events.iter().rev().skip_while(|event| event.at > at);
        events.find_map(|event| match &event.what {
            What::Connected { socket_id, .. } => socket_id.as_deref(),
            _ => None,
        })
    }

    /// How many sessions it has had, counting one twice to which it came back.
    pub(super) fn sessions(&self) -> usize {
        let mut ids: Vec<&Option<String>> = Vec::new();
        for event in &self.events {
            if let What::Connected { socket_id, .. } = &event.what
                && ids.last() != Some(&socket_id)
            {
                ids.push(socket_id);
            }
        }
        ids.len()
    }
}

impl Record {
    /// Whether what a node does is undisturbed all the time.
    pub(super) fn is_calm(&self, node: usize, from: Micros, to: Micros) -> bool {
        !self.disturbances.iter().any(|of| of.target.touches(node) && of.overlaps(from, to))
    }

    /// Whether a node could read and write what Redis keeps all the time. It has connections of its own for that.
    pub(super) fn reaches_store(&self, node: usize, from: Micros, to: Micros) -> bool {
        !self
            .disturbances
            .iter()
            .any(|of| of.target.touches(node) && of.target != Target::Overflow(node) && of.overlaps(from, to))
    }

    /// Whether any node is.
    pub(super) fn has_calm_node(&self, from: Micros, to: Micros) -> bool {
        (0..NODES).any(|node| self.is_calm(node, from, to))
    }

    /// Whether a node tells a page that has been away since then, and comes back without its session, that it may have missed something:
    /// the node knows that the store has been lost.
    pub(super) fn knows_of_loss(&self, node: Option<usize>, away_since: Micros, at: Micros) -> bool {
        let losses = self.disturbances.iter().filter(|of| of.target == Target::Store && of.from <= at);
        let (Some(loss), Some(node)) = (losses.max_by_key(|of| of.from), node) else { return false };
        // The session of a page that has been away for longer has ended.
        let is_in_time = at.saturating_sub(away_since) + SLACK < self.window;
        let has_begun_since = self.disturbances.iter().any(|of| {
            [Target::Killed(node), Target::Stopped(node)].contains(&of.target) && of.overlaps(loss.from, at)
        });
        is_in_time && !has_begun_since
    }

    /// Whether what Redis keeps was lost then.
    pub(super) fn is_lost(&self, from: Micros, to: Micros) -> bool {
        self.disturbances.iter().any(|of| of.target == Target::Store && of.overlaps(from, to))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", seconds(self.at))?;
        match &self.what {
            What::Message { channel, id, position: Some(position) } => {
                write!(f, "{channel}: {id} at {position}")
            }
            What::Message { channel, id, position: None } => write!(f, "{channel}: {id}"),
            other => write!(f, "{other:?}"),
        }
    }
}
