use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::counters::Counters;
use super::histogram::{Histogram, histogram};

/// The shared state of a run: its clock, its phases, its counters and its histograms.
pub(super) struct Run {
    /// Part of every message, so that messages of other runs are not counted.
    pub(super) id: u32,
    pub(super) counters: Counters,
    started: Instant,
    /// Undisturbed subscribers per channel, set once all of them are connected.
    pub(super) subscribers: OnceLock<Vec<u64>>,
    /// The measurement, in nanoseconds of the run's clock.
    from: AtomicU64,
    until: AtomicU64,
    /// When chaos begins.
    chaos_from: AtomicU64,
    /// Messages sent per channel.
    sent_on: Vec<AtomicU64>,
    /// No new message is sent.
    over: AtomicBool,
    /// Messages between `begin` and `end`.
    in_flight: AtomicU64,
    refusals: Mutex<BTreeMap<String, u64>>,
    /// Several, so that connections on different threads rarely wait for each other.
    recorders: Vec<Mutex<Recorder>>,
}

struct Recorder {
    /// Latency of messages that were due before chaos began, and after.
    latency: [Histogram; 2],
    send_delay: Histogram,
}

impl Run {
    /// Starts the clock.
    pub(super) fn start(recorders: usize, channels: usize) -> anyhow::Result<Self> {
        let recorder = || Ok(Recorder { latency: [histogram()?, histogram()?], send_delay: histogram()? });
        let recorders =
            (0..recorders.max(1)).map(|_| recorder().map(Mutex::new)).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            id: rand::random(),
            counters: Counters::default(),
            started: Instant::now(),
            subscribers: OnceLock::new(),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            chaos_from: AtomicU64::new(u64::MAX),
            sent_on: (0..channels).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            refusals: Mutex::default(),
            recorders,
        })
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant of a time of the run's clock.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.started + std::time::Duration::from_nanos(at)
    }

    /// Measures the messages that are due from `from` until `until`.
    pub(super) fn measure(&self, from: u64, until: u64) {
        self.from.store(from, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
    }

    /// The start and the end of the measurement.
    pub(super) fn measured(&self) -> (u64, u64) {
        (self.from.load(Ordering::Relaxed), self.until.load(Ordering::Relaxed))
    }

    /// Records latencies of messages due at `from` or later as those of the chaos phase.
    pub(super) fn begin_chaos(&self, from: u64) {
        self.chaos_from.store(from, Ordering::Relaxed);
    }

    /// Messages sent on a channel so far.
    pub(super) fn sent_on(&self, channel: usize) -> u64 {
        self.sent_on.get(channel).map(|sent| sent.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn measures(&self, at: u64) -> bool {
        let (from, until) = self.measured();
        (from..until).contains(&at)
    }

    /// Lets no further message begin.
    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Begins a message; the caller then calls [`Run::end`]. Returns false if the run is over.
    ///
    /// Both accesses are sequentially consistent: either this call sees the stop, or the caller of `stop` sees the
    /// message in flight.
    pub(super) fn begin(&self) -> bool {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let continues = !self.is_over();
        if !continues {
            self.end();
        }
        continues
    }

    /// Ends a message, which has been counted as sent and expected, or as unsent.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether every expected copy has arrived. Meaningful after the stop.
    pub(super) fn is_complete(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
            && self.counters.received.load(Ordering::Relaxed)
                >= self.counters.expected.load(Ordering::Relaxed)
    }

    /// Counts a message as sent, and the copies that it must produce as expected.
    pub(super) fn record_sent(&self, recorder: usize, channel: usize, due: u64, now: u64) {
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = self.sent_on.get(channel) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        let copies = self.subscribers.get().and_then(|subscribers| subscribers.get(channel));
        self.counters.expected.fetch_add(copies.copied().unwrap_or_default(), Ordering::Relaxed);
        if self.measures(due)
            && let Some(mut recorder) = self.recorder(recorder)
        {
            recorder.send_delay.saturating_record(micros(now.saturating_sub(due)));
        }
    }

    /// Counts copies with these due times as received, and records their latency.
    pub(super) fn record_received(&self, recorder: usize, dues: &[u64], now: u64) {
        let count = dues.len() as u64;
        self.counters.received.fetch_add(count, Ordering::Relaxed);
        if self.measures(now) {
            self.counters.received_in_time.fetch_add(count, Ordering::Relaxed);
        }
        let chaos_from = self.chaos_from.load(Ordering::Relaxed);
        if let Some(mut recorder) = self.recorder(recorder) {
            let [before, during] = &mut recorder.latency;
            for due in dues.iter().filter(|due| self.measures(**due)) {
                let latency = if *due < chaos_from { &mut *before } else { &mut *during };
                latency.saturating_record(micros(now.saturating_sub(*due)));
            }
        }
    }

    /// Counts a message as refused.
    pub(super) fn record_refused(&self, reason: &str) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        *lock(&self.refusals).entry(reason.to_owned()).or_default() += 1;
    }

    /// Refused messages by reason.
    pub(super) fn refusals(&self) -> BTreeMap<String, u64> {
        lock(&self.refusals).clone()
    }

    /// The latencies before chaos began and after, and the delays of sending.
    pub(super) fn histograms(&self) -> anyhow::Result<([Histogram; 2], Histogram)> {
        let ([mut before, mut during], mut send_delay) = ([histogram()?, histogram()?], histogram()?);
        for recorder in &self.recorders {
            let recorder = lock(recorder);
            before.add(&recorder.latency[0])?;
            during.add(&recorder.latency[1])?;
            send_delay.add(&recorder.send_delay)?;
        }
        Ok(([before, during], send_delay))
    }

    fn recorder(&self, number: usize) -> Option<MutexGuard<'_, Recorder>> {
        self.recorders.get(number % self.recorders.len()).map(lock)
    }
}

/// The histograms begin at 1.
fn micros(nanos: u64) -> u64 {
    (nanos / 1_000).max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
