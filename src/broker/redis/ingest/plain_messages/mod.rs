//! Decides which node stores a plain message, so that it is stored exactly once and in order while one node that has received
//! it is alive. Pure: what arrives, and time, become [markers](Marker) to publish and messages to store.
//!
//! * A node that has just connected publishes a marker. Once it is back, the node has a complete view: it names messages as all
//!   others do.
//! * The author of the last marker that `leads` stores messages at once. The others hold them until they see the numbered copies.
//! * If copies do not come, or no node leads, a node publishes a marker that leads. When it is back, the node has seen everything
//!   that was stored before, and stores the rest.
//! * Nothing is stored in another order than it is held, and a message that two nodes store has the same name on both.
//! * A node that was stopped for a while does not lead any longer: what it would store may have been stored under another name.

mod held;

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::marker::Marker;
use super::message_key;
pub(super) use held::Arrived;
use held::HeldMessages;

/// How often to call [`PlainMessages::tick`].
pub(super) const TICK: Duration = Duration::from_millis(50);
/// A tick that comes this late shows that the process was stopped.
const STOPPED: Duration = Duration::from_millis(300);
/// How long after it was taken a batch may be stored.
pub(super) const STORE_WITHIN: Duration = Duration::from_millis(600);
/// How long the copies of messages may take while another node leads.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a node that has just connected waits for a sign of the node that leads.
const JOINING: Duration = Duration::from_millis(300);
/// How long the other nodes wait when they know that none leads.
const LEADERLESS: Duration = Duration::from_millis(50);
/// Up to this much is added to each of these, so that not all nodes act at once.
const MAX_JITTER_MILLIS: u64 = 100;
/// When a node stores what it held before an interruption, if it does not lead before.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// After this time a marker that has not come back is given up.
const LOST_MARKER: Duration = Duration::from_secs(1);
/// The names under which messages were stored are known for longer than this.
const MAX_AGE: Duration = Duration::from_secs(4 * 60);
/// How many topics are counted before a new marker starts over.
const MAX_TOPICS: usize = 10_000;
/// How many markers are remembered.
const MAX_MARKERS: usize = 256;

#[derive(Debug)]
pub(super) struct PlainMessages<M> {
    node: Arc<str>,
    held: HeldMessages<M>,
    max_bytes: usize,
    /// This node stores the messages before this place.
    due: u64,
    /// The messages before this place arrived before the last interruption, which was then.
    left_over: (u64, Instant),
    /// All topics are subscribed.
    is_ready: bool,
    /// How many messages of each topic have arrived since the last marker, or on this connection.
    counts: HashMap<Arc<str>, u64>,
    view: Option<View>,
    /// The node that stores messages at once.
    leader: Option<Arc<str>>,
    /// Since when it has been known, or unknown.
    leader_since: Instant,
    /// When a message that this node held was last stored.
    progress: Instant,
    /// The places of the next messages when other nodes connected: they have received those and later ones.
    joined: HashMap<Arc<str>, u64>,
    marker: OwnMarker,
    jitter: Duration,
    last_tick: Instant,
}

/// All messages have arrived since a marker.
#[derive(Debug)]
struct View {
    since: Instant,
    /// No node has led yet.
    is_fresh: bool,
    /// The last markers, the newest one last.
    markers: VecDeque<Arc<str>>,
}

/// A marker of this node that is not back yet.
#[derive(Debug)]
enum OwnMarker {
    None,
    Wanted { leads: bool },
    Sent { id: Arc<str>, at: Instant },
}

/// A message for the store.
#[derive(Debug, Clone)]
pub(super) struct DueMessage<M> {
    pub(super) place: u64,
    pub(super) name: Arc<str>,
    /// Another name under which it may have been stored.
    pub(super) alias: Option<Arc<str>>,
    pub(super) content: M,
}

impl<M: Clone> PlainMessages<M> {
    pub(super) fn new(node: Arc<str>, max_bytes: usize, now: Instant) -> Self {
        Self {
            node,
            held: HeldMessages::new(),
            max_bytes,
            due: 0,
            left_over: (0, now),
            is_ready: false,
            counts: HashMap::new(),
            view: None,
            leader: None,
            leader_since: now,
            progress: now,
            joined: HashMap::new(),
            marker: OwnMarker::None,
            jitter: Duration::ZERO,
            last_tick: now,
        }
    }

    /// Messages arrive from a new connection. Those that this node has missed are not known. Returns the messages that are given up.
    pub(super) fn on_connected(&mut self, now: Instant) -> Vec<Arrived<M>> {
        let given_up = self.held.on_interrupted();
        self.due = self.held.first();
        self.left_over = (self.held.next(), now);
        (self.is_ready, self.view, self.marker) = (false, None, OwnMarker::None);
        self.counts.clear();
        self.joined.clear();
        self.set_leader(None, now);
        given_up
    }

    /// All topics are subscribed.
    pub(super) fn on_ready(&mut self) {
        self.is_ready = true;
        self.marker = OwnMarker::Wanted { leads: false };
    }

    pub(super) fn on_marker(&mut self, marker: &Marker, now: Instant) {
        self.held.on_marker(&marker.id, &self.counts);
        self.counts = HashMap::new();
        if !self.is_ready {
            return;
        }
        let was_in_view = self.view.is_some();
        self.view.get_or_insert_with(|| View::new(now)).push(&marker.id);
        if marker.node == self.node {
            let is_last = matches!(&self.marker, OwnMarker::Sent { id, .. } if *id == marker.id);
            if is_last {
                self.marker = OwnMarker::None;
            }
            if marker.leads {
                // An older one says that this node leads, although it may have been stopped since.
                let leads = is_last && was_in_view || self.leads();
                self.set_leader(leads.then(|| self.node.clone()), now);
                self.due = if leads { u64::MAX } else { self.held.first() };
            }
        } else if marker.leads {
            self.follow(marker, now);
        } else {
            if self.joined.len() >= MAX_TOPICS {
                self.joined.clear();
            }
            self.joined.insert(marker.node.clone(), self.held.next());
            if self.leader.as_ref() == Some(&marker.node) {
                self.set_leader(None, now);
            } else if self.leads() {
                // The new node learns that it need not lead. It may not see a marker that has been sent already.
                self.marker = OwnMarker::Wanted { leads: true };
            }
        }
    }

    /// Another node stores what follows.
    fn follow(&mut self, marker: &Marker, now: Instant) {
        // What this node was about to store remains its own, and so does what the other one has not received.
        let unknown = self.joined.get(&marker.node).copied().unwrap_or(0);
        self.due = if self.leads() { self.held.next() } else { self.due.max(unknown) };
        self.set_leader(Some(marker.node.clone()), now);
        if let OwnMarker::Wanted { leads: true } = self.marker {
            self.marker = OwnMarker::None;
        }
    }

    /// A plain message, or one that only counts, if it is `None`. Returns a message for which there is no room.
    pub(super) fn on_message(
        &mut self,
        topic: &Arc<str>,
        message: Option<Arrived<M>>,
        now: Instant,
    ) -> Option<Arrived<M>> {
        let count = match self.counts.get_mut(topic) {
            Some(count) => count,
            None => self.counts.entry(topic.clone()).or_default(),
        };
        *count += 1;
        let count = *count;
        if self.leads() && self.counts.len() > MAX_TOPICS {
            self.want_to_lead();
        }
        let message = message?;
        if self.held.bytes() > 0 && self.held.bytes() + message.bytes > self.max_bytes {
            return Some(message);
        }
        let marker = self.view.as_ref().and_then(|view| view.markers.back());
        let name = marker.map(|marker| message_key::after(marker, topic, count));
        self.held.push(message, count, name, now);
        None
    }

    /// A numbered copy of a plain message. Returns whether this node still held that one.
    pub(super) fn on_copy(&mut self, name: &str, fingerprint: impl FnOnce() -> u64, now: Instant) -> bool {
        let marker = message_key::marker_of(name);
        let is_in_view =
            self.view.as_ref().is_some_and(|view| view.markers.iter().any(|seen| **seen == *marker));
        let was_held = self.held.on_copy(name) || !is_in_view && self.held.on_unknown_copy(fingerprint);
        if was_held {
            self.progress = now;
        }
        was_held
    }

    /// To be called every [`TICK`]. Returns the messages that are given up.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Arrived<M>> {
        self.check_stopped(now);
        self.last_tick = now;
        if let OwnMarker::Sent { at, .. } = self.marker
            && now.duration_since(at) > LOST_MARKER
        {
            self.marker =
                if self.view.is_some() { OwnMarker::None } else { OwnMarker::Wanted { leads: false } };
        }
        if let (Some(view), OwnMarker::None) = (&self.view, &self.marker)
            && !self.leads()
        {
            let (since, patience) = match self.leader {
                Some(_) => {
                    let since = self.held.waiting_since(self.due);
                    (since.map(|since| since.max(self.progress).max(self.leader_since)), PATIENCE)
                }
                None if view.is_fresh => (Some(view.since), JOINING),
                None => (Some(self.leader_since), LEADERLESS),
            };
            if since.is_some_and(|since| now > since + patience + self.jitter) {
                self.want_to_lead();
                self.change_jitter();
            }
        }
        // By now those nodes have stored them that have received more. Otherwise their names prevent that they are stored twice.
        let (left_over, since) = self.left_over;
        if now.duration_since(since) > LEFT_OVER {
            self.due = self.due.max(left_over);
        }
        let limit = now.checked_sub(MAX_AGE);
        std::iter::from_fn(|| self.held.pop_older(limit?)).collect()
    }

    /// The marker to publish next, if any.
    pub(super) fn take_marker(&mut self, now: Instant) -> Option<Marker> {
        let OwnMarker::Wanted { leads } = self.marker else { return None };
        let marker = Marker::new(&self.node, leads);
        self.marker = OwnMarker::Sent { id: marker.id.clone(), at: now };
        Some(marker)
    }

    /// The messages to store next, in this order and all of them before others. They must be stored within [`STORE_WITHIN`]
    /// or not at all; then they come again.
    pub(super) fn batch(&mut self, messages: usize, bytes: usize, now: Instant) -> Vec<DueMessage<M>> {
        self.check_stopped(now);
        let mut room = bytes;
        let ripe = self.held.ripe(self.due, now).take(messages);
        let fitting = ripe.take_while(|due| {
            let fits = room > 0;
            room = room.saturating_sub(self.held.size(due.place));
            fits
        });
        fitting.collect()
    }

    /// A message of a [`batch`](PlainMessages::batch) is stored, now or before.
    pub(super) fn on_stored(&mut self, place: u64, now: Instant) {
        self.held.remove(place);
        self.progress = now;
    }

    /// Whether this node stores messages at once.
    pub(super) fn leads(&self) -> bool {
        self.leader.as_ref() == Some(&self.node)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether more than half of the room for messages is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.held.bytes() > self.max_bytes / 2
    }

    fn want_to_lead(&mut self) {
        if let OwnMarker::None = self.marker {
            self.marker = OwnMarker::Wanted { leads: true };
        }
    }

    fn set_leader(&mut self, leader: Option<Arc<str>>, now: Instant) {
        if let (Some(_), Some(view)) = (&leader, &mut self.view) {
            view.is_fresh = false;
        }
        (self.leader, self.leader_since) = (leader, now);
        self.change_jitter();
    }

    /// Depends on the node alone, so that a sequence of events can be repeated.
    fn change_jitter(&mut self) {
        let mut hasher = DefaultHasher::new();
        (&self.node, self.jitter).hash(&mut hasher);
        self.jitter = Duration::from_millis(hasher.finish() % MAX_JITTER_MILLIS);
    }

    /// If the process was stopped, other nodes may have stored what this one holds. It stores nothing more until it has read
    /// everything up to a new marker.
    fn check_stopped(&mut self, now: Instant) {
        if now.duration_since(self.last_tick) < STOPPED {
            return;
        }
        self.last_tick = now;
        self.due = self.held.first();
        if self.leads() {
            self.set_leader(None, now);
        }
        self.marker = if self.view.is_some() {
            OwnMarker::Wanted { leads: true }
        } else if self.is_ready {
            OwnMarker::Wanted { leads: false }
        } else {
            OwnMarker::None
        };
    }
}

impl View {
    fn new(since: Instant) -> Self {
        Self { since, is_fresh: true, markers: VecDeque::new() }
    }

    fn push(&mut self, marker: &Arc<str>) {
        if self.markers.len() == MAX_MARKERS {
            self.markers.pop_front();
        }
        self.markers.push_back(marker.clone());
    }
}

#[cfg(test)]
mod tests;
