use std::time::Duration;

use serde::Deserialize;

/// `[limits]`: resource limits of each connection and of the node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Maximum size of a client's message, in bytes.
    pub message_bytes: usize,
    /// Sustained rate of messages per connection and second. 0: no limit.
    pub messages_per_second: u32,
    /// Messages that a connection may send at once.
    pub burst: u32,
    /// Bytes queued for one connection before it is closed as a slow consumer.
    pub outbox_bytes: usize,
    /// Bytes of accepted messages queued for fan-out on this node.
    pub queue_bytes: usize,
    /// Connections on this node. 0: no limit.
    pub connections: usize,
    /// Connections of one user on this node. 0: no limit.
    pub connections_per_user: usize,
    /// How long a client may take to send its first request.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long a connection may stay idle before its next HTTP request.
    #[serde(with = "humantime_serde")]
    pub keep_alive_timeout: Duration,
}

/// `[heartbeat]`: detection of dead connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Silence after which the server sends a ping. Whole seconds.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long to wait for the pong.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}
