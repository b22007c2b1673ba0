use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::presence::Joiner;
use crate::hub::{ConnectionHandle, Pushed, Replay};
use crate::message::{ChannelName, Frame, Position};
use crate::telemetry::Metrics;

/// The largest part that is written at a time, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// How often the outbox of a client that reads slowly is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Writes what a client has missed into its outbox, never more than half of what may be queued there, and then opens the gate.
///
/// While the gate is closed, the hub holds the live messages and bounds them like those of a slow consumer.
#[derive(Debug)]
pub(super) struct ReplayWriter {
    handle: ConnectionHandle,
    channel: ChannelName,
    /// The frames that are left, in reverse.
    frames: Vec<Frame>,
    end: Option<Position>,
    metrics: Arc<Metrics>,
    presence: Option<Joiner>,
}

impl ReplayWriter {
    pub(super) fn new(
        handle: ConnectionHandle,
        channel: ChannelName,
        mut frames: Vec<Frame>,
        end: Option<Position>,
        metrics: Arc<Metrics>,
        presence: Option<Joiner>,
    ) -> Self {
        frames.reverse();
        Self { handle, channel, frames, end, metrics, presence }
    }

    /// Writes this frame and as much as has room, and the rest in a task.
    pub(super) fn start(mut self, answer: &Frame) {
        self.handle.push(answer);
        self.write();
        // What was held is queued when the gate opens, and must have room.
        let queued = self.handle.outbox().queued_bytes();
        if self.frames.is_empty() && queued <= self.handle.outbox_bytes() / 8 {
            self.open();
        } else {
            tokio::spawn(self.run());
        }
    }

    async fn run(mut self) {
        loop {
            if self.handle.outbox().ending().is_some() {
                return;
            }
            self.write();
            if self.frames.is_empty() && self.handle.outbox().queued_bytes() == 0 {
                return self.open();
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Writes as much as has room.
    fn write(&mut self) {
        while !self.frames.is_empty() {
            let queued = self.handle.outbox().queued_bytes();
            let room = (self.handle.outbox_bytes() / 2).saturating_sub(queued);
            let count = self.fitting(room.min(BLOCK_BYTES)).max(usize::from(queued == 0));
            if count == 0 {
                return;
            }
            let block = self.frames.split_off(self.frames.len().saturating_sub(count));
            if self.handle.push(&Frame::concatenate(block.iter().rev())) == Pushed::Taken {
                self.metrics.deliveries.inc_by(block.len() as u64);
            }
        }
    }

    /// How many of the next frames have no more than this many bytes together.
    fn fitting(&self, bytes: usize) -> usize {
        let mut left = bytes;
        let fits = |frame: &&Frame| {
            let rest = left.checked_sub(frame.bytes().len());
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        self.frames.iter().rev().take_while(fits).count()
    }

    fn open(self) {
        self.handle.open(&self.channel, Replay { frames: Vec::new(), end: self.end });
        if let Some(presence) = self.presence {
            presence.join();
        }
    }
}
