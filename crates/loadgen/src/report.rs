use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::histogram::Histogram;
use super::table;

/// The result of a run, as it is written in JSON. Times are in microseconds, rates per second.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The version of the load generator.
    pub(super) version: &'static str,
    pub(super) load: Load,
    pub(super) connections: Connections,
    pub(super) messages: Messages,
    pub(super) deliveries: Deliveries,
    /// From when a message was due to when a copy of it was read.
    pub(super) latency_us: Percentiles,
    /// The disturbed connections, which no other section includes.
    pub(super) chaos: Option<DisturbedStats>,
    pub(super) generator: Generator,
    /// The process given with `--pid`.
    pub(super) server: Option<Server>,
    /// What went wrong. A run without faults is sound.
    pub faults: Vec<String>,
    /// What to consider before trusting the figures.
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// Formatted JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(table::render(self).trim_end())
    }
}

/// The parameters of the run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Load {
    pub(super) urls: Vec<String>,
    pub(super) protocol: &'static str,
    pub(super) publish: &'static str,
    pub(super) connections: usize,
    pub(super) channels: usize,
    pub(super) publishers_per_channel: usize,
    /// Open loop: messages per second on all channels together.
    pub(super) rate: Option<f64>,
    /// Closed loop: messages in flight per publisher.
    pub(super) window: Option<u32>,
    pub(super) payload_bytes: usize,
    pub(super) ramp: f64,
    pub(super) warmup_seconds: f64,
    /// The length of the measurement.
    pub(super) seconds: f64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Connections {
    pub(super) opened: u64,
    /// Failed handshakes by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Connections that ended before the run did, without slow readers, by close code and reason. 1006: no close frame.
    pub(super) ended: BTreeMap<String, u64>,
    /// From the first packet until the connection was on its channel: the response to the handshake, or to the
    /// subscription.
    pub(super) handshake_us: Percentiles,
}

/// Published messages, warm-up included.
#[derive(Debug, Default, Serialize)]
pub(super) struct Messages {
    pub(super) sent: u64,
    /// Due, but without a connection to send them on.
    pub(super) unsent: u64,
    /// Acknowledged by the server or by Redis; a plain server does not acknowledge.
    pub(super) accepted: u64,
    /// Refused messages by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Neither accepted nor refused: they may have been delivered or not.
    pub(super) unanswered: u64,
    /// Sent during the measurement.
    pub(super) per_second: f64,
}

/// Copies received by undisturbed connections, warm-up included.
#[derive(Debug, Default, Serialize)]
pub(super) struct Deliveries {
    /// Copies due for everything sent, refused messages included.
    pub(super) due: u64,
    pub(super) received: u64,
    /// Copies that did not arrive, of messages that were accepted or that another receiver got.
    pub(super) missing: u64,
    /// The missing copies of connections that had ended.
    pub(super) missing_on_ended: u64,
    pub(super) duplicated: u64,
    /// Received after one that the same publisher sent later.
    pub(super) reordered: u64,
    /// Copies that reached their sender before the acknowledgement of the message.
    pub(super) early_echo: u64,
    /// Receivers that saw messages of several publishers in another order than the others on their channel.
    pub(super) order_mismatches: u64,
    /// Received on another channel than they were sent on.
    pub(super) misrouted: u64,
    /// Messages that do not belong to this run, or that could not be parsed.
    pub(super) unrecognized: u64,
    /// Received during the measurement.
    pub(super) per_second: f64,
}

/// The connections that were disturbed from the middle of the measurement on, and the others' latency.
#[derive(Debug, Default, Serialize)]
pub(super) struct DisturbedStats {
    /// Latency of the undisturbed connections, of messages due before the middle.
    pub(super) latency_before_us: Percentiles,
    /// The same, of messages due after it.
    pub(super) latency_during_us: Percentiles,
    pub(super) slow: SlowReaderStats,
    pub(super) reconnect: ReconnectStats,
    /// As requested.
    pub(super) churn_per_second: f64,
    pub(super) churn: ConnectStats,
    /// Copies that disturbed connections received.
    pub(super) received: u64,
    /// Copies that disturbed connections should have received: everything sent while they were connected and read, except
    /// what was in flight when they connected or dropped.
    pub(super) missing: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// The generator's CPU usage from the middle on; 1 means all of its cores.
    pub(super) generator_busy: Option<f64>,
    pub(super) generator_waited: Option<f64>,
}

/// Connections that stopped reading.
#[derive(Debug, Default, Serialize)]
pub(super) struct SlowReaderStats {
    pub(super) stalled: u64,
    /// Those that the server disconnected, by close code and reason. A slow reader rarely gets to read the close frame; a
    /// reset is 1006.
    pub(super) ended: BTreeMap<String, u64>,
}

/// Connections that dropped and reconnected, all at once.
#[derive(Debug, Default, Serialize)]
pub(super) struct ReconnectStats {
    #[serde(flatten)]
    pub(super) connects: ConnectStats,
    /// How long it took until all were back; none if some never were.
    pub(super) all_back_seconds: Option<f64>,
}

/// Connections that were opened during the measurement.
#[derive(Debug, Default, Serialize)]
pub(super) struct ConnectStats {
    pub(super) attempted: u64,
    pub(super) opened: u64,
    /// Failed handshakes by reason. A connection that retries can fail more than once.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshake_us: Percentiles,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Generator {
    pub(super) cores: usize,
    /// CPU usage during the measurement; 1 means all of its cores.
    pub(super) busy: Option<f64>,
    /// How long its threads waited for a core, in the same unit. Several threads can wait for one core.
    pub(super) waited: Option<f64>,
    /// How late messages were sent. The delay is part of the latency.
    pub(super) late_us: Percentiles,
    /// Writes that had to wait because the server did not read.
    pub(super) blocked_writes: u64,
}

/// Resource usage of the server.
#[derive(Debug, Default, Serialize)]
pub(super) struct Server {
    /// User and system time per delivery, from the start of the measurement until the last copy arrived.
    pub(super) cpu_us_per_delivery: Option<f64>,
    /// User and system time per connection while the connections were opened.
    pub(super) cpu_us_per_connect: Option<f64>,
    /// Growth of the resident memory per connection while nothing was published.
    pub(super) bytes_per_connection: Option<f64>,
    /// Resident memory at the end.
    pub(super) memory_bytes: u64,
}

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) min: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p99_9: u64,
    pub(super) max: u64,
}

impl From<&Histogram> for Percentiles {
    fn from(times: &Histogram) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        Self {
            count: times.len(),
            mean: times.mean(),
            min: times.min(),
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}
