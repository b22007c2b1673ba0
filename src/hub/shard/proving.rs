//! How a shard asks the clients of tracked connections how far they have read, and reports what they have not answered.

use std::sync::Arc;

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::task::yield_now;

use super::{Command, Shard};
use crate::hub::ConnectionId;
use crate::hub::delivered::Delivered;
use crate::hub::fan_out::WRITES_PER_TURN;
use crate::hub::read_progress::ReadProgress;
use crate::hub::read_proof::ReadProof;
use crate::hub::read_reports::{ReadReport, ReadReports};
use crate::hub::tracked::Tracked;
use crate::message::StoreState;

/// The tracked connections of a shard, and what it needs to send them pings.
#[derive(Debug)]
pub(in crate::hub) struct Proving {
    shard: usize,
    /// The other end of the inbox of the shard.
    inbox: WeakUnboundedSender<Command>,
    delivered: Arc<Delivered>,
    reports: Arc<ReadReports>,
    pub(super) tracked: Tracked,
    /// Everything up to here that was delivered to a tracked connection is followed by a ping. `None`: there are no such connections.
    pinged: Option<StoreState>,
}

impl Proving {
    pub(in crate::hub) fn new(
        shard: usize,
        inbox: WeakUnboundedSender<Command>,
        delivered: Arc<Delivered>,
        reports: Arc<ReadReports>,
    ) -> Self {
        Self { shard, inbox, delivered, reports, tracked: Tracked::default(), pinged: None }
    }

    /// Called once a second.
    pub(super) fn sweep(&mut self) {
        if !self.tracked.is_empty() {
            self.prove_later(None);
        } else if self.pinged.take().is_some() {
            self.reports.set(self.shard, None);
        }
    }

    fn prove_later(&self, only: Option<ConnectionId>) {
        if let Some(inbox) = self.inbox.upgrade() {
            // Everything up to here has been delivered to the shard when it takes this command.
            let _ = inbox.send(Command::Prove { delivered: self.delivered.get(), only });
        }
    }

    /// Reports the clients that have not answered every ping before the last ones.
    fn report(&self) {
        if let Some(pinged) = self.pinged {
            let late = self.tracked.late(pinged);
            self.reports.set(self.shard, Some(ReadReport { read: pinged, late }));
        }
    }
}

impl Shard {
    pub(super) fn track(&mut self, id: ConnectionId, ticket: u32, progress: Arc<ReadProgress>) {
        if !self.connections.contains(id) {
            // It has ended already.
            return;
        }
        if self.proving.pinged.is_none() {
            // What connections prove from now on is not before this.
            self.proving.pinged = Some(self.proving.delivered.get());
            self.proving.report();
        }
        if self.proving.tracked.add(id, ticket, progress) {
            // A line that never lasts for a second must not be sent the same messages each time.
            self.proving.prove_later(Some(id));
        }
    }

    pub(super) async fn prove(&mut self, delivered: StoreState) {
        self.proving.report();
        let due = self.proving.tracked.take_due(&self.channels, delivered, self.proving.pinged);
        self.proving.pinged = Some(delivered);
        for (id, proof) in due {
            self.ping(id, proof);
            self.writes += 1;
            if self.writes >= WRITES_PER_TURN {
                self.writes = 0;
                yield_now().await;
            }
        }
    }

    pub(super) fn prove_one(&mut self, delivered: StoreState, id: ConnectionId) {
        if let Some(proof) = self.proving.tracked.take_due_of(id, delivered, self.proving.pinged) {
            self.ping(id, proof);
        }
    }

    fn ping(&self, id: ConnectionId, proof: ReadProof) {
        if let Some(connection) = self.connections.get(id) {
            connection.outbox.push(&proof.ping(), self.outbox_bytes);
        }
    }
}
