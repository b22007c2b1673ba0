//! Disturbs those who only listen, from the middle of the measurement on: some stop reading, some are gone and come back
//! all at once, some come and go. What that does to the others is the question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::connection::Command;
use super::door::{Door, Entered};
use super::machine::Sample;
use super::outcome::{Outcome, Part};
use super::tally::{Times, times};
use crate::error::BenchError;

/// How long one stays that comes and goes.
pub(super) const STAY: Duration = Duration::from_secs(1);
/// Who is not let in asks again after this, and then after twice as long each time …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const LAST_PAUSE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(50);

/// Who disturbs, in numbers of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disturbance {
    connections: usize,
    pub(super) slow: usize,
    pub(super) reconnect: usize,
    /// New ones a second.
    pub(super) churn: f64,
}

impl Disturbance {
    /// From shares of all connections. So many have to be left to publish.
    pub(super) fn new(
        connections: usize,
        [slow, reconnect, churn]: [f64; 3],
        publishing: usize,
    ) -> Result<Self, BenchError> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count, rounded up so that a share above 0 is never none"
        )]
        let part = |share: f64| (connections as f64 * share).ceil() as usize;
        let (slow, reconnect) = (part(slow), part(reconnect));
        if slow + reconnect + publishing > connections {
            return Err(BenchError::Usage(format!(
                "of {connections} connections {} are to be disturbed; the {publishing} that are needed undisturbed are \
                 not left",
                slow + reconnect,
            )));
        }
        Ok(Self { connections, slow, reconnect, churn })
    }

    /// The part of the connection with this number. The last ones disturb: numbers go round the channels and the
    /// servers, and so do they, and publishers are among the first.
    pub(super) fn part(&self, number: usize) -> Part {
        let from_the_end = self.connections.saturating_sub(number);
        if from_the_end <= self.slow {
            Part::Slow
        } else if from_the_end <= self.slow + self.reconnect {
            Part::Dropping
        } else {
            Part::Steady
        }
    }

    /// Connections that may be open besides the others, in the worst case.
    pub(super) fn besides(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
        let passing = (self.churn * STAY.as_secs_f64() * 2.0).ceil() as u64;
        // One that comes back can be there before the server has seen it go.
        passing + self.reconnect as u64
    }
}

/// What was done.
pub(super) struct Disturbed {
    pub(super) plan: Disturbance,
    /// When it began.
    pub(super) begun: Sample,
    pub(super) stalled: u64,
    pub(super) reconnects: Arrivals,
    /// Until the last was back, if all came back.
    pub(super) all_back: Option<Duration>,
    pub(super) passing: Arrivals,
    /// Those that are back and have to be told the end.
    pub(super) handles: Vec<UnboundedSender<Command>>,
}

/// Those who came meanwhile.
pub(super) struct Arrivals {
    pub(super) tried: u64,
    pub(super) opened: u64,
    /// Handshakes that failed, by reason; one that is tried again can fail again.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshakes: Times,
}

/// Does it.
pub(super) struct Disturber {
    pub(super) door: Arc<Door>,
    pub(super) plan: Disturbance,
    /// Connections by their number; only those that disturb are of interest.
    pub(super) handles: BTreeMap<usize, UnboundedSender<Command>>,
    pub(super) outcomes: UnboundedSender<Outcome>,
    /// The server's process.
    pub(super) server: Option<u32>,
}

impl Disturber {
    /// Works from this time of the run's clock until the measurement ends; `None` if it ended before that time.
    pub(super) async fn run(self, from: u64) -> anyhow::Result<Option<Disturbed>> {
        let run = self.door.run.clone();
        while run.now() < from {
            if run.is_over() {
                return Ok(None);
            }
            sleep_until(run.instant(from).min(Instant::now() + TICK).into()).await;
        }
        let begun = Sample::take(self.server);
        let told = |part: Part, command: fn() -> Command| {
            let chosen = self.handles.iter().filter(move |(number, _)| self.plan.part(**number) == part);
            let told = chosen.filter(move |(_, handle)| handle.send(command()).is_ok());
            told.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        let stalled = told(Part::Slow, || Command::Stall).len() as u64;
        let gone = told(Part::Dropping, || Command::Vanish);
        let storm = Instant::now();
        let mut returning = JoinSet::new();
        for number in gone {
            returning.spawn(return_to(self.door.clone(), number, self.outcomes.clone()));
        }
        let passing = self.churn().await?;
        let mut reconnects = Arrivals::none()?;
        let (mut handles, mut last) = (Vec::new(), storm);
        while let Some(returned) = returning.join_next().await {
            let returned = returned?;
            reconnects.tried += 1;
            for reason in returned.refused {
                reconnects.refuse(reason);
            }
            if let Some((entered, at)) = returned.entered {
                reconnects.open(&entered);
                last = last.max(at);
                handles.push(entered.handle);
            }
        }
        let all_back = (reconnects.opened == reconnects.tried).then(|| last - storm);
        Ok(Some(Disturbed { plan: self.plan, begun, stalled, reconnects, all_back, passing, handles }))
    }

    /// By the clock, however long the handshakes before take.
    async fn churn(&self) -> anyhow::Result<Arrivals> {
        let mut passing = Arrivals::none()?;
        if self.plan.churn <= 0.0 {
            return Ok(passing);
        }
        let run = &self.door.run;
        let (begin, mut going) = (Instant::now(), JoinSet::new());
        for count in 0u32.. {
            let due =
                Duration::try_from_secs_f64(f64::from(count) / self.plan.churn).unwrap_or(Duration::MAX);
            let Some(due) = begin.checked_add(due).filter(|due| *due < run.instant(run.measured().1)) else {
                break;
            };
            sleep_until(due.into()).await;
            // Ctrl-C brings the end forward.
            if run.now() >= run.measured().1 {
                break;
            }
            passing.tried += 1;
            let number = self.plan.connections + count as usize;
            going.spawn(pass(self.door.clone(), number, self.outcomes.clone()));
            while let Some(gone) = going.try_join_next() {
                passing.note(gone?);
            }
        }
        while let Some(gone) = going.join_next().await {
            passing.note(gone?);
        }
        Ok(passing)
    }
}

impl Arrivals {
    fn none() -> anyhow::Result<Self> {
        Ok(Self { tried: 0, opened: 0, refused: BTreeMap::new(), handshakes: times()? })
    }

    fn note(&mut self, entered: Result<Entered, String>) {
        match entered {
            Ok(entered) => self.open(&entered),
            Err(reason) => self.refuse(reason),
        }
    }

    fn open(&mut self, entered: &Entered) {
        self.opened += 1;
        self.handshakes.saturating_record(entered.micros());
    }

    fn refuse(&mut self, reason: String) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

struct Returned {
    refused: Vec<String>,
    /// And when.
    entered: Option<(Entered, Instant)>,
}

/// Comes back, and does not give up before the run is over.
async fn return_to(door: Arc<Door>, number: usize, outcomes: UnboundedSender<Outcome>) -> Returned {
    let (mut refused, mut pause) = (Vec::new(), FIRST_PAUSE);
    loop {
        match door.open(number, Part::Returning { sent_before: 0 }, outcomes.clone()).await {
            Ok(entered) => return Returned { refused, entered: Some((entered, Instant::now())) },
            Err(reason) => refused.push(reason),
        }
        if door.run.now() >= door.run.measured().1 {
            return Returned { refused, entered: None };
        }
        // Spread out, as good clients do.
        sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Comes, stays a little, and goes as a page goes that is closed.
async fn pass(door: Arc<Door>, number: usize, outcomes: UnboundedSender<Outcome>) -> Result<Entered, String> {
    let entered = door.open(number, Part::Passing, outcomes).await?;
    sleep(STAY).await;
    // It may have been closed meanwhile, which its outcome says.
    let _ = entered.handle.send(Command::Finish);
    Ok(entered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_disturb_and_the_first_do_not() {
        let plan = Disturbance::new(20, [0.1, 0.15, 5.0], 15).unwrap();
        let parts: Vec<_> = (0..20).map(|number| plan.part(number)).collect();
        assert!(parts[..15].iter().all(|part| *part == Part::Steady));
        assert!(parts[15..18].iter().all(|part| *part == Part::Dropping));
        assert!(parts[18..].iter().all(|part| *part == Part::Slow));
        assert_eq!(plan.besides(), 3 + 10);
        assert!(Disturbance::new(20, [0.1, 0.15, 0.0], 16).is_err());
        // A share above 0 is never nobody.
        assert_eq!(Disturbance::new(20, [0.001, 0.0, 0.0], 1).unwrap().slow, 1);
        assert_eq!(Disturbance::new(20, [0.0, 0.0, 0.0], 1).unwrap().slow, 0);
    }
}
