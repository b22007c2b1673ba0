//! What one connection has seen, and the part it had.

use std::collections::BTreeMap;

use super::track::Track;

/// What becomes of a connection in the course of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It stays and reads: what the figures are of.
    #[default]
    Steady,
    /// It stops reading at some time, and reads on at the end.
    Slow,
    /// It is gone without a word at some time.
    Dropping,
    /// It is one of those that were gone.
    Returning {
        /// Messages sent on its channel before it was back.
        sent_before: u64,
    },
    /// It comes while it is measured, and goes soon.
    Passing,
    /// It only publishes.
    Speaking,
}

impl Part {
    /// The same, once the connection is open.
    pub(super) fn entered(self, sent: u64) -> Self {
        match self {
            Self::Returning { .. } => Self::Returning { sent_before: sent },
            other => other,
        }
    }

    /// Whether it disturbs the others.
    pub(super) fn disturbs(self) -> bool {
        !matches!(self, Self::Steady | Self::Speaking)
    }

    /// Whether it comes when messages are on their way already.
    fn is_late(self) -> bool {
        matches!(self, Self::Returning { .. } | Self::Passing)
    }
}

/// What a connection has seen, told once: at its end or at that of the run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) part: Part,
    pub(super) channel: usize,
    /// Its number on the channel, where it was a publisher.
    pub(super) publisher: Option<u16>,
    pub(super) sent: u32,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    /// What it got of each publisher of its channel.
    pub(super) tracks: BTreeMap<u16, Track>,
    /// How many messages it got, and a hash of their order.
    pub(super) received: u64,
    pub(super) order: u64,
    /// Why it ended before the run did, or before it was told to.
    pub(super) ended: Option<String>,
}

impl Outcome {
    /// How many of its messages the server did not take. Where it says of none that it took it, those that it did not
    /// refuse count as taken.
    pub(super) fn not_accepted(&self, answered: bool) -> u64 {
        if answered { u64::from(self.sent).saturating_sub(self.accepted) } else { self.refused }
    }

    /// Notes a message of its channel.
    pub(super) fn hear(&mut self, publisher: u16, sequence: u32) {
        let late = self.part.is_late();
        let track = || if late { Track::from_the_next() } else { Track::default() };
        self.tracks.entry(publisher).or_insert_with(track).receive(sequence);
        self.received += 1;
        let one = u64::from(publisher) << 32 | u64::from(sequence);
        // Any hash does that depends on the order; this one is FNV-1a's step on a longer word.
        self.order = (self.order ^ one).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
