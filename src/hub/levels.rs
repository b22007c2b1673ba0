use tokio::sync::oneshot;

use super::Hub;
use super::shard::Command;

/// How much waits in outboxes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLevels {
    pub bytes: usize,
    /// The bytes of the outbox that has the most.
    pub largest: usize,
    /// The outboxes that are not empty.
    pub connections: usize,
}

impl OutboxLevels {
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.largest = self.largest.max(bytes);
        self.connections += usize::from(bytes > 0);
    }

    fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
        self.connections += other.connections;
    }
}

impl Hub {
    /// How much waits for the connections of this node. They are visited in steps, so that messages pass in between.
    pub async fn outbox_levels(&self) -> OutboxLevels {
        const STEP: usize = 4096;
        let mut levels = OutboxLevels::default();
        for shard in &self.shards {
            let mut before = usize::MAX;
            while before > 0 {
                let (answer, measured) = oneshot::channel();
                // A shard ends only with the runtime.
                let _ = shard.send(Command::MeasureOutboxes { before, most: STEP, answer });
                let (part, next) = measured.await.unwrap_or_default();
                levels.merge(part);
                before = next;
            }
        }
        levels
    }
}
