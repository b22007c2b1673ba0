use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// What is queued, and whether more may be.
#[derive(Debug, Default)]
pub(super) struct OutboxState {
    pub(super) queue: VecDeque<Bytes>,
    /// The length of `queue` in bytes. Small, because an idle connection has one: see [`MAX_BYTES`](super::MAX_BYTES).
    pub(super) bytes: u32,
    /// The first bytes of the first block are written.
    pub(super) partly_written: bool,
    /// The task of the connection is running and will flush: pushes only append.
    pub(super) corked: bool,
    /// The number of the close in the format; 0: it is open. Small for the same reason.
    pub(super) closed: u8,
    pub(super) gone: bool,
}

impl OutboxState {
    pub(super) fn is_ending(&self) -> bool {
        self.gone || self.closed != 0
    }

    /// Queues bytes of which the first `written` are written.
    pub(super) fn append(&mut self, mut bytes: Bytes, written: usize) {
        bytes.advance(written);
        self.partly_written |= written > 0;
        self.bytes = self.bytes.saturating_add(length(&bytes));
        self.queue.push_back(bytes);
    }

    pub(super) fn close(&mut self, number: u8, bytes: Bytes) {
        self.closed = number;
        if !bytes.is_empty() {
            self.append(bytes, 0);
        }
    }

    /// Discards what is queued, except for the rest of a block that is partly written.
    pub(super) fn drop_queue(&mut self) {
        self.queue.truncate(usize::from(self.partly_written));
        self.bytes = self.queue.iter().map(length).sum();
    }

    pub(super) fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        while let Some(first) = self.queue.front_mut() {
            if count < first.len() {
                first.advance(count);
                self.partly_written |= count > 0;
                return;
            }
            count -= first.len();
            self.partly_written = false;
            self.queue.pop_front();
        }
    }
}

pub(super) fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
