use std::collections::VecDeque;

use bytes::Bytes;

use super::Outbox;
use super::state::length;
use crate::hub::sink::DirectWrite;

/// For a transport whose task hands whole blocks on instead of writing them itself.
impl<W: DirectWrite> Outbox<W> {
    /// Takes the next block out of the queue. The bytes stay shared.
    pub fn take(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let block = state.queue.pop_front()?;
        state.bytes = state.bytes.saturating_sub(length(&block));
        state.partly_written = false;
        if state.queue.is_empty() {
            // An idle connection keeps no buffer.
            state.queue = VecDeque::new();
        }
        Some(block)
    }
}
