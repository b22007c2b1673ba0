//! What is known of the nodes themselves.

use super::State;
use crate::cluster::snapshot::{Gathered, Gathering};
use crate::presence::NodeName;

/// A node that has been silent for so long is lost, with all that was on it.
pub(in crate::cluster) const SILENT_AFTER: u64 = 15_000;

/// Nodes say what they keep of cache channels one after another, so far apart, in milliseconds: long enough to hear that
/// another one has said it.
pub(in crate::cluster) const TURN: u64 = 100;

/// No node waits for more turns than this.
const MOST_TURNS: u64 = 6;

/// So long a node that has asked counts as one that waits for the answer, in milliseconds of the hub's clock.
const ASKING: u64 = 2_000;

/// Asking everybody for everything is not repeated sooner.
const ASK_AGAIN: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Node {
    heard: u64,
    /// When it was started, by its own clock; every node compares the same numbers.
    since: u64,
    standing: Standing,
    /// When it last asked, in milliseconds of the hub's clock.
    asked: Option<u64>,
    /// How much of its snapshot has come, as long as that is not all.
    gathered: Option<Gathered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has not told everything yet.
    New,
    /// Its snapshot has been taken.
    Settled,
    /// It is silent for too long; or it is back, and has not told everything yet.
    Lost,
    /// It has said that it goes.
    Gone,
}

impl Standing {
    fn is_there(self) -> bool {
        matches!(self, Self::New | Self::Settled)
    }
}

impl State {
    /// Something has come from a node that was started then. One that is not known well has to tell everything. Whether it
    /// counts: what a node says after it has said that it goes was under way then, and its name is not used again.
    pub(in crate::cluster) fn heard(&mut self, node: &NodeName, since: u64, tells_all: bool) -> bool {
        let (time, own) = (self.time, *node == self.own);
        let standing = match (own, time > SILENT_AFTER && since < self.since) {
            (true, _) => Standing::Settled,
            // An older one that has not been heard of for so long has been away.
            (false, true) => Standing::Lost,
            (false, false) => Standing::New,
        };
        let new = Node { heard: time, since, standing, asked: None, gathered: None };
        let entry = self.nodes.entry(node.clone()).or_insert(new);
        if entry.standing == Standing::Gone {
            return false;
        }
        entry.heard = time;
        if entry.standing != Standing::Settled && !tells_all {
            self.ask();
        }
        for state in self.apps.values_mut() {
            state.view.heard(node, time);
        }
        true
    }

    /// Time goes on, but only while the node hears what it says itself: otherwise it knows nothing of the others.
    /// After such a time they are given as much of it as if they had just been heard.
    pub(in crate::cluster) fn pass(&mut self, elapsed: u64, hears: bool) {
        if !hears {
            self.is_deaf = true;
            return;
        }
        self.time = self.time.saturating_add(elapsed);
        if std::mem::take(&mut self.is_deaf) {
            for (node, entry) in &mut self.nodes {
                if self.time.saturating_sub(entry.heard) <= SILENT_AFTER {
                    entry.heard = self.time;
                    for state in self.apps.values_mut() {
                        state.view.heard(node, self.time);
                    }
                }
            }
        }
    }

    /// A portion of a node's snapshot comes. Whether it is the last; nothing if one before it was missed.
    pub(in crate::cluster) fn gather(
        &mut self,
        node: &NodeName,
        number: u64,
        index: usize,
        of: usize,
    ) -> Option<bool> {
        let entry = self.nodes.get_mut(node)?;
        match Gathered::add(entry.gathered.take(), number, index, of) {
            Gathering::Complete => Some(true),
            Gathering::Waiting(gathered) => {
                entry.gathered = Some(gathered);
                Some(false)
            }
            Gathering::Gap => {
                self.ask();
                None
            }
        }
    }

    /// Everybody is to tell everything, if that has not been asked just now.
    fn ask(&mut self) {
        self.due.ask |= self.asked.is_none_or(|asked| self.time >= asked + ASK_AGAIN);
    }

    /// Whether a node's snapshot says only what was known before this node was there.
    pub(in crate::cluster) fn is_old_news(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|entry| entry.standing == Standing::New && entry.since < self.since)
    }

    /// A node's snapshot has come.
    pub(in crate::cluster) fn settle(&mut self, node: &NodeName) {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.standing = Standing::Settled;
        }
    }

    /// Whether this node is to speak where one has to, such as to webhooks: of all that are there, the one that has been
    /// there longest, so that a newcomer, which knows nothing yet, never takes the word from another. Two may think so of
    /// themselves for a moment.
    pub(in crate::cluster) fn is_speaker(&self) -> bool {
        self.nodes.iter().all(|(node, entry)| !entry.standing.is_there() || self.is_older_than(node, entry))
    }

    /// Whether another node is there, that speaks if this one goes.
    pub(in crate::cluster) fn has_others(&self) -> bool {
        self.nodes.iter().any(|(node, entry)| *node != self.own && entry.standing.is_there())
    }

    /// A node has asked. When it is this node's turn to answer: the oldest one comes first, because it is the one that
    /// knows most. Those that have asked themselves come last, but they do: it may be all of them.
    pub(super) fn turn_after(&mut self, node: &NodeName, now: u64) -> u64 {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.asked = Some(now);
        }
        let asks = |entry: &Node| entry.asked.is_some_and(|asked| now.saturating_sub(asked) < ASKING);
        let is_before = |(node, entry): &(&NodeName, &Node)| {
            entry.standing.is_there() && !self.is_older_than(node, entry)
        };
        let before = self.nodes.iter().filter(is_before).filter(|(_, entry)| !asks(entry)).count();
        let turns = u64::try_from(before).unwrap_or(MOST_TURNS);
        let last = if self.nodes.get(&self.own).is_some_and(asks) { MOST_TURNS / 2 } else { 0 };
        (turns + last).min(MOST_TURNS) * TURN
    }

    fn is_older_than(&self, node: &NodeName, entry: &Node) -> bool {
        (self.since, &self.own) <= (entry.since, node)
    }

    /// A node has said that it goes. It is forgotten when nothing of it can be under way any more.
    pub(in crate::cluster) fn gone(&mut self, node: &NodeName, since: u64) {
        self.heard(node, since, true);
        if let Some(entry) = self.nodes.get_mut(node) {
            (entry.standing, entry.gathered) = (Standing::Gone, None);
        }
    }

    /// Marks who has been silent for too long, so that their return is noticed. If there is such a node: when the
    /// first one was last heard.
    pub(in crate::cluster) fn unsettle_silent(&mut self) -> Option<u64> {
        let (time, own) = (self.time, self.own.clone());
        let mut last_heard: Option<u64> = None;
        self.nodes.retain(|node, entry| {
            let silence = time.saturating_sub(entry.heard);
            if silence > SILENT_AFTER && *node != own && entry.standing.is_there() {
                (entry.standing, entry.gathered) = (Standing::Lost, None);
                last_heard = Some(last_heard.map_or(entry.heard, |heard| heard.min(entry.heard)));
            }
            silence <= SILENT_AFTER.saturating_mul(10) || *node == own
        });
        last_heard
    }
}
