//! The course of a run: connect, warm up, measure, wait for the last, say goodbye.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::connection::Command;
use super::disturb::{Disturbance, Disturbed, Disturber};
use super::door::{Door, Entered};
use super::machine::Sample;
use super::outcome::{Outcome, Part};
use super::pacer::{self, Publisher};
use super::progress::Progress;
use super::table;
use super::tally::{Run, Times, times};
use super::voice::{Published, Voice};
use super::workload::{Due, Workload};

/// Handshakes at a time.
const HANDSHAKES: usize = 256;
/// After the last handshake, until the server is at rest.
const SETTLE: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(250);
/// What has not come so long after the one before will not come any more …
const QUIET: Duration = Duration::from_secs(2);
/// … nor what has not come so long after the last was sent.
const DRAIN: Duration = Duration::from_secs(30);
/// For all connections to report and to close.
const FINISH: Duration = Duration::from_secs(30);

/// What there is to do.
pub(super) struct Drive {
    pub(super) run: Arc<Run>,
    pub(super) work: Arc<Workload>,
    pub(super) door: Arc<Door>,
    pub(super) ramp: f64,
    pub(super) pace: Pace,
    /// On each channel.
    pub(super) publishers: u16,
    pub(super) voice: Voice,
    pub(super) disturbance: Option<Disturbance>,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// The server's process.
    pub(super) server: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// So many messages a second on all channels together.
    Rate(f64),
    /// So many on their way, of each publisher.
    Window(u32),
}

/// What was seen.
pub(super) struct Seen {
    pub(super) opened: u64,
    /// Connections besides them that only publish.
    pub(super) speakers: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshakes: Times,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) published: Vec<Published>,
    /// Whether each message was to be answered.
    pub(super) answered: bool,
    pub(super) before: Sample,
    pub(super) connected: Sample,
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) drained: Moment,
    pub(super) disturbed: Option<Disturbed>,
}

/// What had been done at a moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) sample: Sample,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) apart: u64,
}

/// The connections that are open, by their number.
struct Open {
    handles: BTreeMap<usize, UnboundedSender<Command>>,
    refused: BTreeMap<String, u64>,
    handshakes: Times,
}

impl Drive {
    pub(super) async fn drive(mut self, progress: &mut Progress) -> anyhow::Result<Seen> {
        let before = Sample::take(self.server);
        let (outcomes, outcome) = unbounded_channel();
        let mut open = self.connect(&outcomes, progress).await?;
        sleep(SETTLE).await;
        let connected = Sample::take(self.server);
        let window = matches!(self.pace, Pace::Window(_));
        if let Voice::Speakers(speakers) = &mut self.voice {
            speakers.open(&self.door, self.publishers, window, &outcomes).await;
            open.refuse(&speakers.refused);
        }
        let mut subscribers = vec![0; self.work.channels.len()];
        for number in open.handles.keys().filter(|number| self.part(**number) == Part::Steady) {
            if let Some(count) = subscribers.get_mut(self.work.channel_of(*number)) {
                *count += 1;
            }
        }
        let _ = self.run.subscribers.set(subscribers);

        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let from = self.run.now().saturating_add(nanos(self.warmup));
        self.run.measure(from, from.saturating_add(nanos(self.duration)));
        let storm = self.disturbance.map(|plan| {
            let middle = from.saturating_add(nanos(self.duration / 2));
            self.run.disturb(middle);
            let (door, handles) = (self.door.clone(), open.handles.clone());
            let disturber =
                Disturber { door, plan, handles, outcomes: outcomes.clone(), server: self.server };
            tokio::spawn(disturber.run(middle))
        });
        drop(outcomes);
        self.begin(&open)?;
        let (from, until) = self.watch(progress).await;
        self.run.stop();
        let drained = self.drain(progress).await;

        let disturbed = match storm {
            Some(storm) => storm.await??,
            None => None,
        };
        let returned = disturbed.iter().flat_map(|disturbed| &disturbed.handles);
        for handle in open.handles.values().chain(self.voice.speakers()).chain(returned) {
            let _ = handle.send(Command::Finish);
        }
        let outcomes = collect(outcome, open.handles.len()).await;
        let speakers = self.voice.speakers().count() as u64;
        let answered = self.work.speech.is_answered() || self.voice.is_answered();
        Ok(Seen {
            opened: open.handles.len() as u64,
            speakers,
            refused: open.refused,
            handshakes: open.handshakes,
            outcomes,
            published: self.voice.finish().await?,
            answered,
            before,
            connected,
            from,
            until,
            drained,
            disturbed,
        })
    }

    /// Opens the connections, so many a second.
    async fn connect(
        &self,
        outcomes: &UnboundedSender<Outcome>,
        progress: &mut Progress,
    ) -> anyhow::Result<Open> {
        let mut open = Open { handles: BTreeMap::new(), refused: BTreeMap::new(), handshakes: times()? };
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
            let (door, part, outcomes) = (self.door.clone(), self.part(number), outcomes.clone());
            handshakes.spawn(async move {
                let entered = door.open(number, part, outcomes).await;
                drop(permit);
                (number, entered)
            });
            while let Some(done) = handshakes.try_join_next() {
                open.note(done?);
            }
            if number % 64 == 0 {
                progress.update(&format!("{} connections", table::count(open.handles.len() as u64)));
            }
        }
        while let Some(done) = handshakes.join_next().await {
            open.note(done?);
        }
        progress.say(&format!(
            "{} connections in {:.1} s",
            table::count(open.handles.len() as u64),
            started.elapsed().as_secs_f64()
        ));
        for (reason, number) in &open.refused {
            progress.say(&format!("  {} were not opened: {reason}", table::count(*number)));
        }
        Ok(open)
    }

    /// Names the publishers and lets them begin.
    fn begin(&self, open: &Open) -> anyhow::Result<()> {
        let mut by_channel: Vec<Vec<&UnboundedSender<Command>>> = vec![Vec::new(); self.work.channels.len()];
        for (number, handle) in &open.handles {
            if self.part(*number) != Part::Steady {
                continue;
            }
            if let Some(handles) = by_channel.get_mut(self.work.channel_of(*number)) {
                handles.push(handle);
            }
        }
        let window = matches!(self.pace, Pace::Window(_));
        let mut publishers = Vec::new();
        // The first publisher of each channel, then the second of each, so that the channels take turns.
        for number in 0..self.publishers {
            for (channel, readers) in by_channel.iter().enumerate() {
                let place = usize::from(number);
                let publisher = if let Voice::Readers = self.voice {
                    let Some(reader) = readers.get(place) else { continue };
                    let _ = reader.send(Command::Publish { publisher: number, window });
                    Publisher::Connection((*reader).clone())
                } else {
                    let Some(reader) = readers.get(place % readers.len().max(1)) else { continue };
                    let Some(outside) = self.voice.outside(channel, number) else { continue };
                    if window {
                        let _ = reader.send(Command::Refill { of: number, by: outside.clone() });
                    }
                    outside
                };
                publishers.push((channel, publisher));
            }
        }
        match self.pace {
            Pace::Rate(rate) => pacer::start(self.run.clone(), rate, publishers)?,
            Pace::Window(window) => {
                for _ in 0..window {
                    for (channel, publisher) in &publishers {
                        publisher.send(&self.run, Due { channel: *channel, at: self.run.now() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for the end of the measurement, or for Ctrl-C, which brings it forward.
    async fn watch(&self, progress: &mut Progress) -> (Moment, Moment) {
        let (from, until) = self.run.measured();
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut begun = None;
        let mut last = self.moment();
        loop {
            let now = self.run.now();
            if begun.is_none() && now >= from {
                begun = Some(self.moment());
            }
            if now >= until {
                break;
            }
            let next = if begun.is_none() { from } else { until };
            let next = self.run.instant(next).min(Instant::now() + TICK);
            tokio::select! {
                () = sleep_until(next.into()) => {}
                _ = &mut interrupt => {
                    self.run.measure(from, self.run.now());
                    break;
                }
            }
            let moment = self.moment();
            progress.update(&Self::line(
                if begun.is_none() { "warm-up" } else { "measuring" },
                &last,
                &moment,
            ));
            last = moment;
        }
        let until = self.moment();
        (begun.unwrap_or(until), until)
    }

    /// Waits for what is still on its way.
    async fn drain(&self, progress: &mut Progress) -> Moment {
        let begun = Instant::now();
        let (mut last, mut changed) = (self.run.received.load(Relaxed), Instant::now());
        loop {
            let run = &self.run;
            let (expected, received) = (run.expected.load(Relaxed), run.received.load(Relaxed));
            if received != last {
                (last, changed) = (received, Instant::now());
            }
            if run.is_complete() || changed.elapsed() > QUIET || begun.elapsed() > DRAIN {
                progress.clear();
                return self.moment();
            }
            progress
                .update(&format!("waiting for {} copies", table::count(expected.saturating_sub(received))));
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn part(&self, number: usize) -> Part {
        self.disturbance.map_or(Part::Steady, |plan| plan.part(number))
    }

    fn moment(&self) -> Moment {
        Moment {
            sample: Sample::take(self.server),
            sent: self.run.sent.load(Relaxed),
            received: self.run.received.load(Relaxed),
            apart: self.run.apart.load(Relaxed),
        }
    }

    fn line(phase: &str, last: &Moment, now: &Moment) -> String {
        let millis = u64::try_from(now.sample.since(&last.sample).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |now: u64, last: u64| table::count(now.saturating_sub(last) * 1_000 / millis);
        format!(
            "{phase}: {} messages/s, {} deliveries/s, {} messages so far",
            rate(now.sent, last.sent),
            rate(now.received, last.received),
            table::count(now.sent)
        )
    }
}

impl Open {
    fn note(&mut self, (number, entered): (usize, Result<Entered, String>)) {
        match entered {
            Ok(entered) => {
                self.handshakes.saturating_record(entered.micros());
                self.handles.insert(number, entered.handle);
            }
            Err(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }

    fn refuse(&mut self, refused: &BTreeMap<String, u64>) {
        for (reason, number) in refused {
            *self.refused.entry(reason.clone()).or_default() += number;
        }
    }
}

/// The reports of all connections, and then until the last has closed; but not for ever.
async fn collect(mut outcome: UnboundedReceiver<Outcome>, opened: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(opened);
    let _ = timeout(FINISH, async {
        while let Some(one) = outcome.recv().await {
            outcomes.push(one);
        }
    })
    .await;
    outcomes
}
