use std::time::Duration;

use serde::Deserialize;

/// `[limits]`: what one connection, and all of them together, may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest message of a client, in bytes.
    pub message_bytes: usize,
    /// Messages per second that a connection may send in the long run. 0: no limit.
    pub messages_per_second: u32,
    /// Messages that it may send at once.
    pub burst: u32,
    /// Bytes that may wait for one connection before it counts as a slow consumer.
    pub outbox_bytes: usize,
    /// Bytes of accepted messages that may wait for fan-out on this node.
    pub queue_bytes: usize,
    /// Connections on this node. 0: no limit.
    pub connections: usize,
    /// Connections of one user on this node. 0: no limit.
    pub connections_per_user: usize,
    /// How long a client may take to send its request.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long a connection may wait for its next HTTP request.
    #[serde(with = "humantime_serde")]
    pub keep_alive_timeout: Duration,
}

/// `[heartbeat]`: how a dead connection is found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// A connection that has been silent for so long gets a ping. Whole seconds.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long it may take to answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}
