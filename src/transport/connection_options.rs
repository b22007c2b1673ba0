use std::time::Duration;

use super::message_reader::Bounds;
use super::{Heartbeat, Limits};
use crate::hub::Clock;
use crate::message::Rate;

/// What all connections of an endpoint, or of an app, have in common.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// The clock of all times in seconds.
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    /// How fast a connection is read; `None`: without a limit.
    pub(super) rate: Option<Rate>,
    /// Seconds of silence before a ping.
    pub(super) ping_after: u32,
    /// Seconds to wait for the pong.
    pub(super) pong_within: u32,
}

impl ConnectionOptions {
    /// Takes the settings. The heartbeat has a resolution of whole seconds, one at least.
    #[must_use]
    pub fn new(clock: Clock, limits: &Limits, heartbeat: &Heartbeat) -> Self {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        Self {
            clock,
            bounds: Bounds { message_bytes: limits.message_bytes, outbox_bytes: limits.outbox_bytes },
            rate: Rate::new(limits.messages_per_second, limits.burst),
            ping_after: seconds(heartbeat.interval),
            pong_within: seconds(heartbeat.timeout),
        }
    }

    /// How many messages a client may send; `None`: without a limit.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// The largest message of a client, in bytes.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bounds.message_bytes
    }

    /// For a protocol with its own pings: the protocol decides when a client is gone, because an answer to either ping
    /// counts.
    #[must_use]
    pub fn without_pong_timeout(self) -> Self {
        Self { pong_within: u32::MAX, ..self }
    }

    /// Accepts messages of at least `bytes`.
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.bounds.message_bytes = self.bounds.message_bytes.max(bytes);
        self
    }

    /// Accepts `more` messages at once.
    #[must_use]
    pub fn with_larger_burst(self, more: u32) -> Self {
        Self { rate: self.rate.map(|rate| rate.with_larger_burst(more)), ..self }
    }
}
