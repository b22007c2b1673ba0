use std::collections::BTreeMap;

use super::sequence_tracker::SequenceTracker;

/// What a connection does in the course of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Stays connected and reads. All figures but those of the disturbed are about these connections.
    #[default]
    Steady,
    /// Stops reading halfway through, and reads the rest at the end.
    Slow,
    /// Disconnects without a close frame halfway through.
    Dropping,
    /// Replaces one that has dropped.
    Reconnected {
        /// Messages sent on its channel before it was connected.
        sent_before: u64,
    },
    /// Connects for a second during the measurement.
    Churning,
    /// Only publishes.
    PublishOnly,
}

impl Role {
    /// The same role, after the handshake.
    pub(super) fn connected(self, sent: u64) -> Self {
        match self {
            Self::Reconnected { .. } => Self::Reconnected { sent_before: sent },
            other => other,
        }
    }

    /// Whether it is one of the connections that are disturbed on purpose.
    pub(super) fn is_disturbed(self) -> bool {
        !matches!(self, Self::Steady | Self::PublishOnly)
    }

    /// Whether it connects after publishing has begun.
    fn joins_late(self) -> bool {
        matches!(self, Self::Reconnected { .. } | Self::Churning)
    }
}

/// What a connection has observed. Each connection reports once: at its end or at that of the run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) role: Role,
    pub(super) channel: usize,
    /// Its number on the channel, if it published.
    pub(super) publisher: Option<u16>,
    pub(super) sent: u32,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    /// By publisher of the channel.
    pub(super) trackers: BTreeMap<u16, SequenceTracker>,
    pub(super) received: u64,
    /// A hash of the order of what it received.
    pub(super) order: u64,
    /// The close code and reason, if it ended before the runner ended it.
    pub(super) ended: Option<String>,
}

impl Outcome {
    /// How many of its messages the server did not accept. Without acknowledgements, all that were not refused count as
    /// accepted.
    pub(super) fn not_accepted(&self, acknowledged: bool) -> u64 {
        if acknowledged { u64::from(self.sent).saturating_sub(self.accepted) } else { self.refused }
    }

    /// Records a message received on its channel.
    pub(super) fn record(&mut self, publisher: u16, sequence: u32) {
        let late = self.role.joins_late();
        let tracker = || if late { SequenceTracker::starting_late() } else { SequenceTracker::default() };
        self.trackers.entry(publisher).or_insert_with(tracker).record(sequence);
        self.received += 1;
        let message = u64::from(publisher) << 32 | u64::from(sequence);
        // A step of FNV-1a on a whole word: any hash that depends on the order would do.
        self.order = (self.order ^ message).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
