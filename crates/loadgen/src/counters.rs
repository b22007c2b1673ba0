use std::sync::atomic::AtomicU64;

/// What all connections and publishers count together.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Messages written to a connection, to Redis or to the HTTP API.
    pub(super) sent: AtomicU64,
    /// Scheduled messages that no connection could send.
    pub(super) unsent: AtomicU64,
    /// Copies that the sent messages must produce.
    pub(super) expected: AtomicU64,
    /// Copies received by undisturbed connections.
    pub(super) received: AtomicU64,
    /// Copies received within the measurement.
    pub(super) received_in_time: AtomicU64,
    /// Copies received by disturbed and publish-only connections; part of neither `expected` nor `received`.
    pub(super) disturbed_received: AtomicU64,
    /// Messages that the server acknowledged.
    pub(super) accepted: AtomicU64,
    /// Messages that the server rejected.
    pub(super) refused: AtomicU64,
    /// Messages that do not belong to this run.
    pub(super) unrecognized: AtomicU64,
    /// Messages of this run that arrived on another channel.
    pub(super) misrouted: AtomicU64,
    /// Copies that reached their sender before the acknowledgement of the message.
    pub(super) early_echo: AtomicU64,
    /// Writes that had to wait because the server did not read.
    pub(super) blocked_writes: AtomicU64,
}
