//! What a run has found, as it is written in JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::table;
use super::tally::Times;

/// All of it. Times are in microseconds, rates per second.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The generator's own version.
    pub(super) version: &'static str,
    pub(super) load: Load,
    pub(super) connections: Connections,
    pub(super) messages: Messages,
    pub(super) deliveries: Deliveries,
    /// From when a message was due to when a copy of it was read.
    pub(super) latency_us: Percentiles,
    /// What some connections did to disturb the others; the figures above are of the others only.
    pub(super) disturbance: Option<Apart>,
    pub(super) generator: Generator,
    /// The process given with `--pid`.
    pub(super) server: Option<Server>,
    /// What did not go as it should have.
    pub faults: Vec<String>,
    /// What to know before the figures are believed.
    pub(super) cautions: Vec<String>,
}

impl Report {
    /// As JSON, over several lines.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(table::render(self).trim_end())
    }
}

/// What was asked for.
#[derive(Debug, Default, Serialize)]
pub(super) struct Load {
    pub(super) urls: Vec<String>,
    pub(super) protocol: &'static str,
    pub(super) publish: &'static str,
    pub(super) connections: usize,
    pub(super) channels: usize,
    pub(super) publishers_per_channel: usize,
    /// Messages a second on all channels together; open loop.
    pub(super) rate: Option<f64>,
    /// Messages on their way of each publisher; closed loop.
    pub(super) window: Option<u32>,
    pub(super) payload_bytes: usize,
    pub(super) ramp: f64,
    pub(super) warmup_seconds: f64,
    /// How long it was measured.
    pub(super) seconds: f64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Connections {
    pub(super) opened: u64,
    /// Those that were not opened, by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Those that ended before the run did, but for slow readers, by close code and reason; 1006 where there was no close frame.
    pub(super) ended: BTreeMap<String, u64>,
    /// From the first packet until it was on its channel: the answer to the handshake, or to its subscription.
    pub(super) handshake_us: Percentiles,
}

/// Warm-up included.
#[derive(Debug, Default, Serialize)]
pub(super) struct Messages {
    pub(super) sent: u64,
    /// Due, but there was no connection to send them on.
    pub(super) unsent: u64,
    /// The server, or Redis, said that it took them; a plain server says nothing.
    pub(super) accepted: u64,
    /// Those that were not taken, by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Neither accepted nor refused: they may have arrived or not.
    pub(super) unanswered: u64,
    /// Sent while it was measured, a second.
    pub(super) per_second: f64,
}

/// Warm-up included.
#[derive(Debug, Default, Serialize)]
pub(super) struct Deliveries {
    /// Copies due for all that was sent: refused messages included.
    pub(super) due: u64,
    pub(super) received: u64,
    /// Copies that did not come, of messages that were accepted or that somebody else got.
    pub(super) missing: u64,
    /// Those of them that were due on connections that had ended.
    pub(super) missing_on_ended: u64,
    pub(super) doubled: u64,
    /// After one that the same publisher sent later.
    pub(super) reordered: u64,
    /// A sender's own copies that came before the answer to their message.
    pub(super) hasty: u64,
    /// Receivers that saw messages of several publishers in another order than the others on their channel.
    pub(super) disagreeing: u64,
    /// On another channel than they were sent on.
    pub(super) strayed: u64,
    /// Of others, or not understood.
    pub(super) foreign: u64,
    /// Read while it was measured, a second.
    pub(super) per_second: f64,
}

/// What those did and saw who disturbed the others, from the middle of the measurement on.
#[derive(Debug, Default, Serialize)]
pub(super) struct Apart {
    /// The others' latency, of messages that were due before the middle …
    pub(super) latency_before_us: Percentiles,
    /// … and of those due from then on.
    pub(super) latency_during_us: Percentiles,
    pub(super) slow: SlowReaders,
    pub(super) reconnect: Reconnects,
    /// As asked for.
    pub(super) churn_per_second: f64,
    pub(super) churn: Newcomers,
    /// Copies that came to them.
    pub(super) received: u64,
    /// Copies that they should have got: all while they were there and read, but for what was still on its way when they
    /// came or went.
    pub(super) missing: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    /// How much of its cores the generator used from the middle on.
    pub(super) generator_busy: Option<f64>,
    pub(super) generator_waited: Option<f64>,
}

/// Those who stopped reading.
#[derive(Debug, Default, Serialize)]
pub(super) struct SlowReaders {
    pub(super) stalled: u64,
    /// Those whom the server disconnected, by close code and reason. As a rule one does not read the code any more: a
    /// reset is 1006.
    pub(super) ended: BTreeMap<String, u64>,
}

/// Those who were gone and came back all at once.
#[derive(Debug, Default, Serialize)]
pub(super) struct Reconnects {
    #[serde(flatten)]
    pub(super) newcomers: Newcomers,
    /// Until the last was back; none if not all came back.
    pub(super) all_back_seconds: Option<f64>,
}

/// Those who came meanwhile.
#[derive(Debug, Default, Serialize)]
pub(super) struct Newcomers {
    pub(super) tried: u64,
    pub(super) opened: u64,
    /// Handshakes that failed, by reason. Who comes back tries again, and can be here more than once.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshake_us: Percentiles,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Generator {
    pub(super) cores: usize,
    /// How much of these cores it used while it was measured; 1 is all.
    pub(super) busy: Option<f64>,
    /// How long its threads waited for a core, in the same measure; more than one of them can wait for the same core.
    pub(super) waited: Option<f64>,
    /// How late it sent. It is part of the latency.
    pub(super) late_us: Percentiles,
    /// Writes that had to wait because the server did not read.
    pub(super) blocked_writes: u64,
}

/// What the server used.
#[derive(Debug, Default, Serialize)]
pub(super) struct Server {
    /// User and system time for each delivery, from the start of the measurement until all had come.
    pub(super) cpu_us_per_delivery: Option<f64>,
    /// The same for each connection while they were opened.
    pub(super) cpu_us_per_connect: Option<f64>,
    /// How much the resident memory grew for each connection while nothing was sent.
    pub(super) bytes_per_connection: Option<f64>,
    /// At the end.
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

impl From<&Times> for Percentiles {
    fn from(times: &Times) -> Self {
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
