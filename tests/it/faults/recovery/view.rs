//! What one page saw of one of its channels.

use std::collections::HashSet;

use super::super::history::{MessageId, Micros};
use super::record::{Level, Page, Position, Record, What};

/// A message as it was received.
#[derive(Debug, Clone)]
pub(super) struct Receipt<'a> {
    /// Its place among the events of the page.
    pub(super) index: usize,
    pub(super) at: Micros,
    pub(super) id: MessageId,
    pub(super) position: Option<&'a Position>,
    /// On which of the page's connections, from 0, and on which node.
    pub(super) connection: usize,
    pub(super) node: Option<usize>,
}

/// A place where messages may be missing, as the page was told.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) index: usize,
    pub(super) at: Micros,
    /// When the page had last received anything on the channel, or come onto it.
    pub(super) since: Micros,
    pub(super) connection: usize,
    pub(super) node: Option<usize>,
}

/// When a page was told something, and on which of its connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) at: Micros,
    pub(super) connection: usize,
    pub(super) node: Option<usize>,
}

impl Receipt<'_> {
    pub(super) const fn told(&self) -> Told {
        Told { at: self.at, connection: self.connection, node: self.node }
    }
}

impl Gap {
    pub(super) const fn told(&self) -> Told {
        Told { at: self.at, connection: self.connection, node: self.node }
    }
}

/// A time on the channel.
#[derive(Debug, Clone)]
pub(super) struct Stay {
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) node: Option<usize>,
}

#[derive(Debug)]
pub(super) struct View<'a> {
    /// The number of the page.
    pub(super) number: usize,
    pub(super) page: &'a Page,
    pub(super) channel: &'a str,
    pub(super) receipts: Vec<Receipt<'a>>,
    pub(super) gaps: Vec<Gap>,
    pub(super) stays: Vec<Stay>,
    /// When each connection ended.
    pub(super) ends: Vec<Micros>,
    /// What was sent later is due.
    pub(super) since: Option<Micros>,
}

impl<'a> View<'a> {
    pub(super) fn new(number: usize, record: &'a Record, channel: &'a str) -> Self {
        let page = &record.pages[number];
        let mut view = Self {
            number,
            page,
            channel,
            receipts: Vec::new(),
            gaps: Vec::new(),
            stays: Vec::new(),
            ends: Vec::new(),
            since: None,
        };
        let (mut node, mut last, mut is_on) = (None, 0, false);
        let mut session = None;
        for (index, event) in page.events.iter().enumerate() {
            let at = event.at;
            match &event.what {
                What::Connected { node: on, socket_id } => {
                    node = *on;
                    let is_resumed = session.replace(socket_id).is_some_and(|session| session == socket_id);
                    // Without its session, an unmodified page begins anew, unless the node knows that it may have been lost.
                    let away_since = view.ends.last().copied().unwrap_or_default();
                    if page.level == Level::Unmodified
                        && !is_resumed
                        && !record.knows_of_loss(*on, away_since, at)
                    {
                        view.since = None;
                    }
                }
                What::Subscribed { channel: of, fresh } if of == channel => {
                    if *fresh || view.since.is_none() {
                        view.since = Some(at);
                        last = at;
                    }
                    view.stays.push(Stay { from: at, to: Micros::MAX, node });
                    is_on = true;
                }
                What::Message { channel: of, id, position } if of == channel => {
                    let connection = view.ends.len();
                    let before = view.receipts.last().and_then(|before| before.position);
                    if let (Some(before), Some(position)) = (before, position)
                        && before.epoch != position.epoch
                    {
                        // Who looks at the positions is told.
                        view.gaps.push(Gap { index, at, since: last, connection, node });
                    }
                    let position = position.as_ref();
                    view.receipts.push(Receipt { index, at, id: *id, position, connection, node });
                    last = at;
                }
                What::Gap { channel: of } if of == channel => {
                    view.gaps.push(Gap { index, at, since: last, connection: view.ends.len(), node });
                }
                What::Disconnected(_) => {
                    if is_on && let Some(stay) = view.stays.last_mut() {
                        stay.to = at;
                    }
                    is_on = false;
                    view.ends.push(at);
                }
                _ => {}
            }
        }
        view
    }

    /// Each message once, in the order of its first receipt.
    pub(super) fn firsts(&self) -> Vec<MessageId> {
        let mut seen = HashSet::new();
        self.receipts.iter().map(|receipt| receipt.id).filter(|id| seen.insert(*id)).collect()
    }

    pub(super) fn ids(&self) -> HashSet<MessageId> {
        self.receipts.iter().map(|receipt| receipt.id).collect()
    }

    /// Whether the page was told of a gap between two of its events.
    pub(super) fn has_gap(&self, from: usize, to: usize) -> bool {
        self.gaps.iter().any(|gap| gap.index > from && gap.index <= to)
    }

    /// If an event is of the first connection of a session that has subscribed to the channel: the nodes of the connections before, since
    /// when, and until when.
    pub(super) fn unwritten_on(&self, index: usize) -> Vec<(Option<usize>, Micros, Micros)> {
        let mut connections: Vec<(Option<usize>, Micros, Micros)> = Vec::new();
        let (mut session, mut is_new) = (None, true);
        for event in self.page.events.iter().take(index) {
            if let (What::Disconnected(_), Some((_, _, end))) = (&event.what, connections.last_mut()) {
                *end = event.at;
            }
            let What::Connected { node, socket_id } = &event.what else { continue };
            if session.replace(socket_id) != Some(socket_id) {
                (connections, is_new) = (Vec::new(), true);
            } else if self.has_subscribed(&connections, event.at) {
                is_new = false;
            }
            connections.push((*node, event.at, Micros::MAX));
        }
        connections.pop();
        if is_new && self.page.level != Level::Native { connections } else { Vec::new() }
    }

    fn has_subscribed(&self, connections: &[(Option<usize>, Micros, Micros)], until: Micros) -> bool {
        let since = connections.first().map_or(until, |(_, since, _)| *since);
        self.stays.iter().any(|stay| stay.from >= since && stay.from < until)
    }

    /// The messages before and after one of the page's events.
    pub(super) fn around(&self, index: usize) -> Vec<MessageId> {
        let before = self.receipts.iter().rev().find(|receipt| receipt.index < index);
        let after = self.receipts.iter().find(|receipt| receipt.index >= index);
        before.into_iter().chain(after).map(|receipt| receipt.id).collect()
    }
}
