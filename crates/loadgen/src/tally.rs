//! What all connections count together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones.
const MAX_MICROS: u64 = 600_000_000;

/// Times in microseconds, with three significant digits.
pub(super) type Times = Histogram<u64>;

pub(super) fn times() -> anyhow::Result<Times> {
    Ok(Histogram::new_with_bounds(1, MAX_MICROS, 3)?)
}

/// One run: its clock, its plan in numbers, its counters.
pub(super) struct Run {
    /// Told in every message.
    pub(super) id: u32,
    started: Instant,
    /// Connections on each channel that stay and read, once they are all there.
    pub(super) subscribers: OnceLock<Vec<u64>>,
    /// From when until when it is measured, in nanoseconds of the clock.
    from: AtomicU64,
    until: AtomicU64,
    /// When some connections begin to disturb the others.
    disturbed_from: AtomicU64,
    /// Messages on each channel, as counted in `sent`.
    sent_on: Vec<AtomicU64>,
    /// Nothing new is sent any more.
    over: AtomicBool,
    /// Messages that somebody is about to send.
    under_way: AtomicU64,
    /// Messages written to a connection, to Redis or to the HTTP API.
    pub(super) sent: AtomicU64,
    /// Messages that were due and found no connection.
    pub(super) unsent: AtomicU64,
    /// Copies that are due for what was sent.
    pub(super) expected: AtomicU64,
    /// Copies that came.
    pub(super) received: AtomicU64,
    /// Copies that came to connections that disturb the others or that only publish; not among those that came or are due.
    pub(super) apart: AtomicU64,
    /// Copies that came while it was measured.
    pub(super) received_in_time: AtomicU64,
    /// Messages whose sender was told so.
    pub(super) accepted: AtomicU64,
    /// Messages that the server did not take.
    pub(super) refused: AtomicU64,
    /// Messages that are none of this run.
    pub(super) foreign: AtomicU64,
    /// Messages of another channel of this run.
    pub(super) strayed: AtomicU64,
    /// A sender's own copies that came before it was told that its message was accepted.
    pub(super) hasty: AtomicU64,
    /// Writes that had to wait because the server did not read.
    pub(super) blocked: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
    recorders: Vec<Mutex<Recorder>>,
}

/// The times of some of the connections.
pub(super) struct Recorder {
    /// Of messages that were due before some connections began to disturb the others, and from then on.
    latency: [Times; 2],
    late: Times,
}

impl Run {
    /// Starts the clock. So many `recorders` share the work.
    pub(super) fn start(recorders: usize, channels: usize) -> anyhow::Result<Self> {
        let recorders = (0..recorders.max(1))
            .map(|_| Ok(Mutex::new(Recorder { latency: [times()?, times()?], late: times()? })))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            id: rand::random(),
            started: Instant::now(),
            subscribers: OnceLock::new(),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            disturbed_from: AtomicU64::new(u64::MAX),
            sent_on: (0..channels).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
            under_way: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            received: AtomicU64::new(0),
            apart: AtomicU64::new(0),
            received_in_time: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            strayed: AtomicU64::new(0),
            hasty: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            reasons: Mutex::default(),
            recorders,
        })
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// That moment on the clock of the system.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.started + std::time::Duration::from_nanos(at)
    }

    /// Decides what is measured: messages that are due from `from` until `until`.
    pub(super) fn measure(&self, from: u64, until: u64) {
        self.from.store(from, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
    }

    /// From when until when it is measured.
    pub(super) fn measured(&self) -> (u64, u64) {
        (self.from.load(Ordering::Relaxed), self.until.load(Ordering::Relaxed))
    }

    /// From this time on some connections disturb the others.
    pub(super) fn disturb(&self, from: u64) {
        self.disturbed_from.store(from, Ordering::Relaxed);
    }

    /// Messages sent on a channel so far.
    pub(super) fn sent_on(&self, channel: usize) -> u64 {
        self.sent_on.get(channel).map(|sent| sent.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn measures(&self, at: u64) -> bool {
        let (from, until) = self.measured();
        (from..until).contains(&at)
    }

    /// From here on no message is begun.
    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Begins a message, which has to be followed by [`Run::end`]; false if the run is over.
    ///
    /// Both orders are sequentially consistent: either this sees the stop, or who stopped sees the message.
    pub(super) fn begin(&self) -> bool {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let goes_on = !self.is_over();
        if !goes_on {
            self.end();
        }
        goes_on
    }

    /// The message is counted: as sent and expected, or as unsent.
    pub(super) fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// After the stop: whether all that was sent has come.
    pub(super) fn is_complete(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
            && self.received.load(Ordering::Relaxed) >= self.expected.load(Ordering::Relaxed)
    }

    /// A message is on its way, this much after it was due.
    pub(super) fn sending(&self, recorder: usize, channel: usize, due: u64, now: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = self.sent_on.get(channel) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        let copies = self.subscribers.get().and_then(|subscribers| subscribers.get(channel));
        self.expected.fetch_add(copies.copied().unwrap_or_default(), Ordering::Relaxed);
        if self.measures(due)
            && let Some(mut recorder) = self.recorder(recorder)
        {
            recorder.late.saturating_record(micros(now.saturating_sub(due)));
        }
    }

    /// Copies came, with these due times.
    pub(super) fn received(&self, recorder: usize, dues: &[u64], now: u64) {
        let count = dues.len() as u64;
        self.received.fetch_add(count, Ordering::Relaxed);
        if self.measures(now) {
            self.received_in_time.fetch_add(count, Ordering::Relaxed);
        }
        let disturbed_from = self.disturbed_from.load(Ordering::Relaxed);
        if let Some(mut recorder) = self.recorder(recorder) {
            let [before, during] = &mut recorder.latency;
            for due in dues.iter().filter(|due| self.measures(**due)) {
                let latency = if *due < disturbed_from { &mut *before } else { &mut *during };
                latency.saturating_record(micros(now.saturating_sub(*due)));
            }
        }
    }

    /// The server did not take a message.
    pub(super) fn refuse(&self, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        *lock(&self.reasons).entry(reason.to_owned()).or_default() += 1;
    }

    /// Why messages were not taken, and how many.
    pub(super) fn reasons(&self) -> BTreeMap<String, u64> {
        lock(&self.reasons).clone()
    }

    /// The latencies until some connections began to disturb the others and from then on, and how late messages were
    /// sent.
    pub(super) fn times(&self) -> anyhow::Result<([Times; 2], Times)> {
        let ([mut before, mut during], mut late) = ([times()?, times()?], times()?);
        for recorder in &self.recorders {
            let recorder = lock(recorder);
            before.add(&recorder.latency[0])?;
            during.add(&recorder.latency[1])?;
            late.add(&recorder.late)?;
        }
        Ok(([before, during], late))
    }

    fn recorder(&self, number: usize) -> Option<MutexGuard<'_, Recorder>> {
        self.recorders.get(number % self.recorders.len()).map(lock)
    }
}

fn micros(nanos: u64) -> u64 {
    // Below a microsecond there is nothing to tell.
    (nanos / 1_000).max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
