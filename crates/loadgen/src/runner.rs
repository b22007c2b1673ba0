use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::chaos::{Chaos, ChaosPlan, ChaosResult};
use super::connection::Command;
use super::connector::{Connected, Connector};
use super::histogram::{Histogram, histogram};
use super::outcome::{Outcome, Role};
use super::pacer;
use super::progress::Progress;
use super::publisher::Publisher;
use super::publishers::{PublishLog, Publishers};
use super::resources::ResourceSample;
use super::run::Run;
use super::table;
use super::workload::{ScheduledMessage, Workload};

/// Concurrent handshakes.
const HANDSHAKES: usize = 256;
/// Lets the server become idle after the last handshake.
const SETTLE: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(250);
/// Copies still missing after a pause of this length are lost.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// Copies still missing this long after the last message was sent are lost.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long all connections together have to report and to close.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes a run through its phases: connect, warm up, measure, drain, finish.
pub(super) struct Runner {
    pub(super) run: Arc<Run>,
    pub(super) work: Arc<Workload>,
    pub(super) connector: Arc<Connector>,
    pub(super) ramp: f64,
    pub(super) pace: Pace,
    pub(super) publishers_per_channel: u16,
    pub(super) publishers: Publishers,
    pub(super) chaos: Option<ChaosPlan>,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// The id of the server's process.
    pub(super) server: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Open loop: messages per second, on all channels together.
    Rate(f64),
    /// Closed loop: messages in flight per publisher.
    Window(u32),
}

/// What a run has observed.
pub(super) struct RunResult {
    pub(super) opened: u64,
    /// Publish-only connections, which `opened` does not include.
    pub(super) publish_only: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshakes: Histogram,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) publish_logs: Vec<PublishLog>,
    /// Whether the server acknowledges every message.
    pub(super) acknowledged: bool,
    pub(super) before: ResourceSample,
    pub(super) connected: ResourceSample,
    pub(super) from: Checkpoint,
    pub(super) until: Checkpoint,
    pub(super) drained: Checkpoint,
    pub(super) chaos: Option<ChaosResult>,
}

/// Counters and resource usage at a point in time.
#[derive(Clone, Copy)]
pub(super) struct Checkpoint {
    pub(super) sample: ResourceSample,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) disturbed_received: u64,
}

/// The open connections, by number.
struct OpenConnections {
    handles: BTreeMap<usize, UnboundedSender<Command>>,
    refused: BTreeMap<String, u64>,
    handshakes: Histogram,
}

impl Runner {
    pub(super) async fn run(mut self, progress: &mut Progress) -> anyhow::Result<RunResult> {
        let before = ResourceSample::take(self.server);
        let (outcomes, outcome) = unbounded_channel();
        let mut open = self.connect(&outcomes, progress).await?;
        sleep(SETTLE).await;
        let connected = ResourceSample::take(self.server);
        let closed_loop = matches!(self.pace, Pace::Window(_));
        if let Publishers::Connections(connections) = &mut self.publishers {
            connections.open(&self.connector, self.publishers_per_channel, closed_loop, &outcomes).await;
            open.add_refused(&connections.refused);
        }
        let mut subscribers = vec![0; self.work.channels.len()];
        for number in open.handles.keys().filter(|number| self.role(**number) == Role::Steady) {
            if let Some(count) = subscribers.get_mut(self.work.channel_of(*number)) {
                *count += 1;
            }
        }
        let _ = self.run.subscribers.set(subscribers);

        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let from = self.run.now().saturating_add(nanos(self.warmup));
        self.run.measure(from, from.saturating_add(nanos(self.duration)));
        let chaos = self.chaos.map(|plan| {
            let middle = from.saturating_add(nanos(self.duration / 2));
            self.run.begin_chaos(middle);
            let (connector, handles) = (self.connector.clone(), open.handles.clone());
            let chaos = Chaos { connector, plan, handles, outcomes: outcomes.clone(), server: self.server };
            tokio::spawn(chaos.run(middle))
        });
        drop(outcomes);
        self.start_publishing(&open)?;
        let (from, until) = self.watch(progress).await;
        self.run.stop();
        let drained = self.drain(progress).await;

        let chaos = match chaos {
            Some(chaos) => chaos.await??,
            None => None,
        };
        let reconnected = chaos.iter().flat_map(|chaos| &chaos.handles);
        for handle in open.handles.values().chain(self.publishers.connections()).chain(reconnected) {
            let _ = handle.send(Command::Finish);
        }
        let outcomes = collect(outcome, open.handles.len()).await;
        let publish_only = self.publishers.connections().count() as u64;
        let acknowledged = self.work.protocol.acknowledges() || self.publishers.acknowledges();
        Ok(RunResult {
            opened: open.handles.len() as u64,
            publish_only,
            refused: open.refused,
            handshakes: open.handshakes,
            outcomes,
            publish_logs: self.publishers.finish().await?,
            acknowledged,
            before,
            connected,
            from,
            until,
            drained,
            chaos,
        })
    }

    /// Opens `ramp` connections per second.
    async fn connect(
        &self,
        outcomes: &UnboundedSender<Outcome>,
        progress: &mut Progress,
    ) -> anyhow::Result<OpenConnections> {
        let mut open =
            OpenConnections { handles: BTreeMap::new(), refused: BTreeMap::new(), handshakes: histogram()? };
        let permits = Arc::new(Semaphore::new(HANDSHAKES));
        let started = Instant::now();
        let mut handshakes = JoinSet::new();
        for number in 0..self.work.connections {
            #[expect(clippy::cast_precision_loss, reason = "connections are far below 2^53")]
            let due = started + Duration::try_from_secs_f64(number as f64 / self.ramp).unwrap_or_default();
            if due > Instant::now() {
                sleep_until(due.into()).await;
            }
            let permit = permits.clone().acquire_owned().await?;
            let (connector, role, outcomes) = (self.connector.clone(), self.role(number), outcomes.clone());
            handshakes.spawn(async move {
                let connected = connector.connect(number, role, outcomes).await;
                drop(permit);
                (number, connected)
            });
            while let Some(done) = handshakes.try_join_next() {
                open.record(done?);
            }
            if number % 64 == 0 {
                progress.update(&format!("{} connections", table::count(open.handles.len() as u64)));
            }
        }
        while let Some(done) = handshakes.join_next().await {
            open.record(done?);
        }
        progress.log(&format!(
            "{} connections in {:.1} s",
            table::count(open.handles.len() as u64),
            started.elapsed().as_secs_f64()
        ));
        for (reason, number) in &open.refused {
            progress.log(&format!("  {} failed: {reason}", table::count(*number)));
        }
        Ok(open)
    }

    /// Assigns the publishers and starts the pacer, or fills the windows.
    fn start_publishing(&self, open: &OpenConnections) -> anyhow::Result<()> {
        let mut by_channel: Vec<Vec<&UnboundedSender<Command>>> = vec![Vec::new(); self.work.channels.len()];
        for (number, handle) in &open.handles {
            if self.role(*number) != Role::Steady {
                continue;
            }
            if let Some(handles) = by_channel.get_mut(self.work.channel_of(*number)) {
                handles.push(handle);
            }
        }
        let closed_loop = matches!(self.pace, Pace::Window(_));
        let mut publishers = Vec::new();
        // First publisher of every channel, then the second of every channel: messages alternate between channels.
        for number in 0..self.publishers_per_channel {
            for (channel, subscribers) in by_channel.iter().enumerate() {
                let place = usize::from(number);
                let publisher = if let Publishers::Subscribers = self.publishers {
                    let Some(subscriber) = subscribers.get(place) else { continue };
                    let _ = subscriber.send(Command::Publish { publisher: number, closed_loop });
                    Publisher::Connection((*subscriber).clone())
                } else {
                    let Some(subscriber) = subscribers.get(place % subscribers.len().max(1)) else {
                        continue;
                    };
                    let Some(publisher) = self.publishers.get(channel, number) else { continue };
                    if closed_loop {
                        let _ = subscriber.send(Command::Refill { number, publisher: publisher.clone() });
                    }
                    publisher
                };
                publishers.push((channel, publisher));
            }
        }
        match self.pace {
            Pace::Rate(rate) => pacer::start(self.run.clone(), rate, publishers)?,
            Pace::Window(window) => {
                for _ in 0..window {
                    for (channel, publisher) in &publishers {
                        publisher
                            .send(&self.run, ScheduledMessage { channel: *channel, due: self.run.now() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for the end of the measurement. Ctrl-C ends it early.
    async fn watch(&self, progress: &mut Progress) -> (Checkpoint, Checkpoint) {
        let (from, until) = self.run.measured();
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut start = None;
        let mut last = self.checkpoint();
        loop {
            let now = self.run.now();
            if start.is_none() && now >= from {
                start = Some(self.checkpoint());
            }
            if now >= until {
                break;
            }
            let next = if start.is_none() { from } else { until };
            let next = self.run.instant(next).min(Instant::now() + TICK);
            tokio::select! {
                () = sleep_until(next.into()) => {}
                _ = &mut interrupt => {
                    self.run.measure(from, self.run.now());
                    break;
                }
            }
            let checkpoint = self.checkpoint();
            progress.update(&Self::status(
                if start.is_none() { "warm-up" } else { "measuring" },
                &last,
                &checkpoint,
            ));
            last = checkpoint;
        }
        let until = self.checkpoint();
        (start.unwrap_or(until), until)
    }

    /// Waits for the copies that are still in flight.
    async fn drain(&self, progress: &mut Progress) -> Checkpoint {
        let begun = Instant::now();
        let (mut last, mut changed) = (self.run.counters.received.load(Relaxed), Instant::now());
        loop {
            let run = &self.run;
            let (expected, received) =
                (run.counters.expected.load(Relaxed), run.counters.received.load(Relaxed));
            if received != last {
                (last, changed) = (received, Instant::now());
            }
            if run.is_complete() || changed.elapsed() > DRAIN_IDLE || begun.elapsed() > DRAIN_TIMEOUT {
                progress.clear();
                return self.checkpoint();
            }
            progress
                .update(&format!("waiting for {} copies", table::count(expected.saturating_sub(received))));
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn role(&self, number: usize) -> Role {
        self.chaos.map_or(Role::Steady, |plan| plan.role(number))
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            sample: ResourceSample::take(self.server),
            sent: self.run.counters.sent.load(Relaxed),
            received: self.run.counters.received.load(Relaxed),
            disturbed_received: self.run.counters.disturbed_received.load(Relaxed),
        }
    }

    fn status(phase: &str, last: &Checkpoint, now: &Checkpoint) -> String {
        let millis = u64::try_from(now.sample.since(&last.sample).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |now: u64, last: u64| table::count(now.saturating_sub(last) * 1_000 / millis);
        format!(
            "{phase}: {} messages/s, {} deliveries/s, {} messages in total",
            rate(now.sent, last.sent),
            rate(now.received, last.received),
            table::count(now.sent)
        )
    }
}

impl OpenConnections {
    fn record(&mut self, (number, connected): (usize, Result<Connected, String>)) {
        match connected {
            Ok(connected) => {
                self.handshakes.saturating_record(connected.micros());
                self.handles.insert(number, connected.handle);
            }
            Err(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }

    fn add_refused(&mut self, refused: &BTreeMap<String, u64>) {
        for (reason, number) in refused {
            *self.refused.entry(reason.clone()).or_default() += number;
        }
    }
}

/// Collects the outcomes until the last connection has closed, or until the timeout.
async fn collect(mut outcome: UnboundedReceiver<Outcome>, opened: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(opened);
    let _ = timeout(FINISH_TIMEOUT, async {
        while let Some(one) = outcome.recv().await {
            outcomes.push(one);
        }
    })
    .await;
    outcomes
}
