use std::sync::Arc;

use super::{ChannelName, Dispatch, Position, Retention};

/// A dispatch to publish, and how the broker stores it.
#[derive(Debug, Clone)]
pub struct Publication {
    pub dispatch: Dispatch,
    /// The channels of a signal that have a history. The broker itself knows which events have one.
    pub retained: Vec<Retained>,
    /// A dispatch with the same key as one that was published within the last five minutes is not published again: its receipt
    /// reports the position of the first one.
    pub idempotency_key: Option<Arc<str>>,
}

/// A channel of a [`Publication`] that has a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// Which of the channels of the dispatch it is, from 0.
    pub index: u16,
    /// With the scope of its app, if it belongs to one.
    pub channel: ChannelName,
    pub retention: Retention,
}

/// Where the store has put a dispatch that has a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Identifies the store. It changes when the store has lost something. Random.
    pub store: u64,
    /// Counts what the store has been given, from 1, over all channels and without holes.
    pub number: u64,
    /// When it was stored, by the clock of the store: milliseconds since the Unix epoch.
    pub at: u64,
    /// For each channel with a history, which of the channels of the dispatch it is, and the position there.
    pub positions: Vec<(u16, Position)>,
    /// It was published without a number before, and this node did not hold it until it was stored. So the node has delivered it if its
    /// channel has no history here.
    pub is_plain_copy: bool,
}

impl<D: Into<Dispatch>> From<D> for Publication {
    fn from(dispatch: D) -> Self {
        Self { dispatch: dispatch.into(), retained: Vec::new(), idempotency_key: None }
    }
}

impl Stored {
    /// The position of the dispatch in the history of one of its channels.
    #[must_use]
    pub fn position(&self, index: u16) -> Option<Position> {
        self.positions.iter().find(|(of, _)| *of == index).map(|(_, position)| *position)
    }

    /// Where a dispatch is that was stored together with this one, this many places after it. `None` if a number overflows.
    #[must_use]
    pub fn nth(&self, after: u64) -> Option<Self> {
        let nth = |&(index, Position { epoch, offset }): &(u16, Position)| {
            Some((index, Position { epoch, offset: offset.checked_add(after)? }))
        };
        let positions = self.positions.iter().map(nth).collect::<Option<_>>()?;
        Some(Self { number: self.number.checked_add(after)?, positions, ..*self })
    }
}
