use tokio::sync::oneshot;

use super::shard::Command;
use super::{Hub, OutboxLevels};

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
