//! Sends when it is time, whatever became of what was sent before: an open loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::connection::Command;
use super::tally::Run;
use super::workload::Due;

/// So often the end of the run is looked at while nothing is due.
const NAP: Duration = Duration::from_millis(50);

/// Somebody who sends on a channel.
#[derive(Debug, Clone)]
pub(super) enum Publisher {
    /// A connection.
    Connection(UnboundedSender<Command>),
    /// The thread that speaks to Redis.
    Redis(mpsc::Sender<Due>),
    /// A task that calls the HTTP API, under this number on the channel.
    Http(u16, UnboundedSender<(u16, Due)>),
}

impl Publisher {
    /// Passes a message on, unless the run is over; counts it where there is nobody any more.
    pub(super) fn send(&self, run: &Run, due: Due) {
        if !run.begin() {
            return;
        }
        let passed = match self {
            Self::Connection(commands) => commands.send(Command::Send(due.at)).is_ok(),
            Self::Redis(dues) => dues.send(due).is_ok(),
            Self::Http(publisher, calls) => calls.send((*publisher, due)).is_ok(),
        };
        if !passed {
            run.unsent.fetch_add(1, Ordering::Relaxed);
            run.end();
        }
    }
}

/// Starts to send `rate` messages a second, one after the other to each of the publishers, until the time of the
/// measurement is over. A publisher is named with its channel.
///
/// A thread of its own: the runtime's timers count in milliseconds.
pub(super) fn start(run: Arc<Run>, rate: f64, publishers: Vec<(usize, Publisher)>) -> std::io::Result<()> {
    thread::Builder::new().name("pacer".to_owned()).spawn(move || {
        be_punctual();
        let begin = run.now();
        for (count, (channel, publisher)) in publishers.iter().cycle().enumerate() {
            let due = due(begin, count, rate);
            if due >= run.measured().1 || !wait_until(&run, run.instant(due)) {
                return;
            }
            publisher.send(&run, Due { channel: *channel, at: due });
        }
    })?;
    Ok(())
}

/// When the message with this number is due, in nanoseconds. Computed from the beginning, so that errors do not add up.
fn due(begin: u64, count: usize, rate: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 messages")]
    let after = Duration::try_from_secs_f64(count as f64 / rate).unwrap_or(Duration::MAX);
    begin.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

/// Sleeps; false if the run ended meanwhile.
fn wait_until(run: &Run, moment: Instant) -> bool {
    loop {
        if run.is_over() {
            return false;
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}

/// Without this, Linux wakes a thread up to 50 µs late, to save power.
fn be_punctual() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_drift() {
        assert_eq!(due(5, 0, 3.0), 5);
        assert_eq!(due(0, 3_000_000, 3.0), 1_000_000_000_000_000);
        assert_eq!(due(0, 1, 0.5), 2_000_000_000);
    }

    #[test]
    fn it_sends_by_the_clock_to_one_after_the_other() {
        let run = Arc::new(Run::start(1, 1).unwrap());
        let (first, at_first) = mpsc::channel();
        let (second, at_second) = mpsc::channel();
        run.measure(0, run.now() + 100_000_000);
        let publishers = vec![(0, Publisher::Redis(first)), (1, Publisher::Redis(second))];
        start(run.clone(), 100.0, publishers).unwrap();
        let firsts: Vec<Due> = at_first.iter().collect();
        let seconds: Vec<Due> = at_second.iter().collect();
        // The measurement began before the pacer did; on a busy machine, well before.
        assert!((2..=5).contains(&firsts.len()), "{firsts:?}");
        assert!(firsts.len() - seconds.len() <= 1);
        for (one, next) in firsts.iter().zip(firsts.iter().skip(1)) {
            assert_eq!(next.at - one.at, 20_000_000);
        }
        assert!(seconds.iter().all(|due| due.channel == 1));
    }

    #[test]
    fn a_publisher_that_is_gone_is_counted() {
        let run = Run::start(1, 1).unwrap();
        let (gone, _) = mpsc::channel();
        Publisher::Redis(gone).send(&run, Due { channel: 0, at: 0 });
        assert_eq!(run.unsent.load(Ordering::Relaxed), 1);
    }
}
