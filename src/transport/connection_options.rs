use std::time::Duration;

use super::bucket::Rate;
use super::message_reader::Bounds;
use super::{Heartbeat, Limits};

/// What all sessions of an edge have in common.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    pub(super) bounds: Bounds,
    /// How fast a connection is read; `None`: as fast as it sends.
    pub(super) rate: Option<Rate>,
    /// Seconds of silence before a ping.
    pub(super) ping_after: u32,
    /// Seconds for its answer.
    pub(super) pong_within: u32,
}

impl ConnectionOptions {
    /// Takes the settings; the heartbeat counts in whole seconds, one at least.
    #[must_use]
    pub fn new(limits: &Limits, heartbeat: &Heartbeat) -> Self {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        Self {
            bounds: Bounds { message_bytes: limits.message_bytes, outbox_bytes: limits.outbox_bytes },
            rate: Rate::new(limits),
            ping_after: seconds(heartbeat.interval),
            pong_within: seconds(heartbeat.timeout),
        }
    }

    /// The same for a protocol that has pings of its own: it judges who is not there, for an answer to either ping counts.
    #[must_use]
    pub fn never_giving_up(self) -> Self {
        Self { pong_within: u32::MAX, ..self }
    }

    /// The same for messages of at least so many bytes.
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.bounds.message_bytes = self.bounds.message_bytes.max(bytes);
        self
    }

    /// The same, with so many more messages at once.
    #[must_use]
    pub fn with_larger_burst(self, more: u32) -> Self {
        Self { rate: self.rate.map(|rate| rate.with_larger_burst(more)), ..self }
    }
}
