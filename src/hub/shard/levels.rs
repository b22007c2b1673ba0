use super::Shard;
use crate::hub::OutboxLevels;

impl Shard {
    /// The outboxes of at most `most` connections, from the last one before `before` on, and where to go on: 0 if these were the last.
    pub(super) fn levels(&self, before: usize, most: usize) -> (OutboxLevels, usize) {
        let end = self.connections.len().min(before);
        let start = end.saturating_sub(most);
        let mut levels = OutboxLevels::default();
        for (_, connection) in self.connections.entries().get(start..end).unwrap_or_default() {
            levels.add(connection.outbox.queued_bytes());
        }
        (levels, start)
    }
}
