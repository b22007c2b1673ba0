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

    pub(super) fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
        self.connections += other.connections;
    }
}
