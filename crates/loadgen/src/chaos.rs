use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::connection::Command;
use super::connector::{Connected, Connector};
use super::error::BenchError;
use super::histogram::{Histogram, histogram};
use super::outcome::{Outcome, Role};
use super::resources::ResourceSample;

/// How long a churning connection lasts.
const CHURN_LIFETIME: Duration = Duration::from_secs(1);
/// The first pause before a handshake is retried; it doubles with each retry.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(50);

/// How many connections are disturbed from the middle of the measurement on. The others are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChaosPlan {
    connections: usize,
    pub(super) slow: usize,
    pub(super) reconnect: usize,
    /// Additional connections per second.
    pub(super) churn: f64,
}

impl ChaosPlan {
    /// `slow` and `reconnect` are shares of all connections, of which `undisturbed` must remain to publish and to read.
    pub(super) fn new(
        connections: usize,
        [slow, reconnect, churn]: [f64; 3],
        undisturbed: usize,
    ) -> Result<Self, BenchError> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count, rounded up so that a share above 0 is at least one connection"
        )]
        let part = |share: f64| (connections as f64 * share).ceil() as usize;
        let (slow, reconnect) = (part(slow), part(reconnect));
        if slow + reconnect + undisturbed > connections {
            return Err(BenchError::Usage(format!(
                "--slow and --reconnect disturb {} of {connections} connections; {undisturbed} must stay undisturbed",
                slow + reconnect,
            )));
        }
        Ok(Self { connections, slow, reconnect, churn })
    }

    /// The role of the connection with this number. The last ones are disturbed: publishers have low numbers, and
    /// consecutive numbers are spread over the channels and the servers.
    pub(super) fn role(&self, number: usize) -> Role {
        let from_the_end = self.connections.saturating_sub(number);
        if from_the_end <= self.slow {
            Role::Slow
        } else if from_the_end <= self.slow + self.reconnect {
            Role::Dropping
        } else {
            Role::Steady
        }
    }

    /// The most connections that may be open in addition to the regular ones.
    pub(super) fn extra_connections(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
        let churning = (self.churn * CHURN_LIFETIME.as_secs_f64() * 2.0).ceil() as u64;
        // A connection can be back before the server has noticed that it was lost.
        churning + self.reconnect as u64
    }
}

pub(super) struct ChaosResult {
    pub(super) plan: ChaosPlan,
    /// Resource usage when chaos began.
    pub(super) start: ResourceSample,
    pub(super) stalled: u64,
    pub(super) reconnects: Attempts,
    /// How long it took until all dropped connections were back; `None` if some never were.
    pub(super) all_back: Option<Duration>,
    pub(super) churn: Attempts,
    /// The reconnected connections, which must be notified of the end of the run.
    pub(super) handles: Vec<UnboundedSender<Command>>,
}

/// Connections that were attempted during chaos.
pub(super) struct Attempts {
    pub(super) attempted: u64,
    pub(super) opened: u64,
    /// Failed handshakes by reason. A connection that retries can fail more than once.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) handshakes: Histogram,
}

/// Disturbs connections that only read: some stop reading, some drop and reconnect all at once, some come and go.
pub(super) struct Chaos {
    pub(super) connector: Arc<Connector>,
    pub(super) plan: ChaosPlan,
    /// All regular connections, by number.
    pub(super) handles: BTreeMap<usize, UnboundedSender<Command>>,
    pub(super) outcomes: UnboundedSender<Outcome>,
    /// The id of the server's process.
    pub(super) server: Option<u32>,
}

impl Chaos {
    /// Runs from this time of the run's clock until the measurement ends. Returns `None` if it ended before that time.
    pub(super) async fn run(self, from: u64) -> anyhow::Result<Option<ChaosResult>> {
        let run = self.connector.run.clone();
        while run.now() < from {
            if run.is_over() {
                return Ok(None);
            }
            sleep_until(run.instant(from).min(Instant::now() + TICK).into()).await;
        }
        let start = ResourceSample::take(self.server);
        let command_all = |role: Role, command: fn() -> Command| {
            let chosen = self.handles.iter().filter(move |(number, _)| self.plan.role(**number) == role);
            let reached = chosen.filter(move |(_, handle)| handle.send(command()).is_ok());
            reached.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        let stalled = command_all(Role::Slow, || Command::Stall).len() as u64;
        let dropped = command_all(Role::Dropping, || Command::Vanish);
        let dropped_at = Instant::now();
        let mut reconnecting = JoinSet::new();
        for number in dropped {
            reconnecting.spawn(reconnect(self.connector.clone(), number, self.outcomes.clone()));
        }
        let churn = self.churn().await?;
        let mut reconnects = Attempts::none()?;
        let (mut handles, mut last) = (Vec::new(), dropped_at);
        while let Some(reconnected) = reconnecting.join_next().await {
            let reconnected = reconnected?;
            reconnects.attempted += 1;
            for reason in reconnected.refused {
                reconnects.record_refused(reason);
            }
            if let Some((connected, at)) = reconnected.connected {
                reconnects.record_opened(&connected);
                last = last.max(at);
                handles.push(connected.handle);
            }
        }
        let all_back = (reconnects.opened == reconnects.attempted).then(|| last - dropped_at);
        Ok(Some(ChaosResult { plan: self.plan, start, stalled, reconnects, all_back, churn, handles }))
    }

    /// Opens connections on schedule, however long earlier handshakes take.
    async fn churn(&self) -> anyhow::Result<Attempts> {
        let mut attempts = Attempts::none()?;
        if self.plan.churn <= 0.0 {
            return Ok(attempts);
        }
        let run = &self.connector.run;
        let (begin, mut open) = (Instant::now(), JoinSet::new());
        for count in 0u32.. {
            let due =
                Duration::try_from_secs_f64(f64::from(count) / self.plan.churn).unwrap_or(Duration::MAX);
            let Some(due) = begin.checked_add(due).filter(|due| *due < run.instant(run.measured().1)) else {
                break;
            };
            sleep_until(due.into()).await;
            // Ctrl-C ends the measurement early.
            if run.now() >= run.measured().1 {
                break;
            }
            attempts.attempted += 1;
            let number = self.plan.connections + count as usize;
            open.spawn(connect_briefly(self.connector.clone(), number, self.outcomes.clone()));
            while let Some(done) = open.try_join_next() {
                attempts.record(done?);
            }
        }
        while let Some(done) = open.join_next().await {
            attempts.record(done?);
        }
        Ok(attempts)
    }
}

impl Attempts {
    fn none() -> anyhow::Result<Self> {
        Ok(Self { attempted: 0, opened: 0, refused: BTreeMap::new(), handshakes: histogram()? })
    }

    fn record(&mut self, connected: Result<Connected, String>) {
        match connected {
            Ok(connected) => self.record_opened(&connected),
            Err(reason) => self.record_refused(reason),
        }
    }

    fn record_opened(&mut self, connected: &Connected) {
        self.opened += 1;
        self.handshakes.saturating_record(connected.micros());
    }

    fn record_refused(&mut self, reason: String) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

struct Reconnected {
    refused: Vec<String>,
    connected: Option<(Connected, Instant)>,
}

/// Retries until the measurement ends.
async fn reconnect(
    connector: Arc<Connector>,
    number: usize,
    outcomes: UnboundedSender<Outcome>,
) -> Reconnected {
    let (mut refused, mut pause) = (Vec::new(), FIRST_RETRY);
    loop {
        match connector.connect(number, Role::Reconnected { sent_before: 0 }, outcomes.clone()).await {
            Ok(connected) => return Reconnected { refused, connected: Some((connected, Instant::now())) },
            Err(reason) => refused.push(reason),
        }
        if connector.run.now() >= connector.run.measured().1 {
            return Reconnected { refused, connected: None };
        }
        // With jitter, as good clients do.
        sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = (pause * 2).min(MAX_RETRY);
    }
}

/// Opens a connection and closes it properly after [`CHURN_LIFETIME`].
async fn connect_briefly(
    connector: Arc<Connector>,
    number: usize,
    outcomes: UnboundedSender<Outcome>,
) -> Result<Connected, String> {
    let connected = connector.connect(number, Role::Churning, outcomes).await?;
    sleep(CHURN_LIFETIME).await;
    // If it has ended before, its outcome says so.
    let _ = connected.handle.send(Command::Finish);
    Ok(connected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_connections_are_disturbed() {
        let plan = ChaosPlan::new(20, [0.1, 0.15, 5.0], 15).unwrap();
        let roles: Vec<_> = (0..20).map(|number| plan.role(number)).collect();
        assert!(roles[..15].iter().all(|role| *role == Role::Steady));
        assert!(roles[15..18].iter().all(|role| *role == Role::Dropping));
        assert!(roles[18..].iter().all(|role| *role == Role::Slow));
        assert_eq!(plan.extra_connections(), 3 + 10);
        assert!(ChaosPlan::new(20, [0.1, 0.15, 0.0], 16).is_err());
        // A share above 0 is at least one connection.
        assert_eq!(ChaosPlan::new(20, [0.001, 0.0, 0.0], 1).unwrap().slow, 1);
        assert_eq!(ChaosPlan::new(20, [0.0, 0.0, 0.0], 1).unwrap().slow, 0);
    }
}
