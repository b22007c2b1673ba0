use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::publisher::Publisher;
use super::run::Run;
use super::workload::ScheduledMessage;

/// How often a waiting pacer checks whether the run is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Open loop: sends `rate` messages per second, round-robin over the publishers, until the measurement ends. The schedule
/// does not depend on what became of earlier messages. Each publisher comes with its channel.
///
/// A thread of its own, because the runtime's timers have a resolution of a millisecond.
pub(super) fn start(run: Arc<Run>, rate: f64, publishers: Vec<(usize, Publisher)>) -> std::io::Result<()> {
    thread::Builder::new().name("pacer".to_owned()).spawn(move || {
        reduce_timer_slack();
        let begin = run.now();
        for (count, (channel, publisher)) in publishers.iter().cycle().enumerate() {
            let due = due(begin, count, rate);
            if due >= run.measured().1 || !wait_until(&run, run.instant(due)) {
                return;
            }
            publisher.send(&run, ScheduledMessage { channel: *channel, due });
        }
    })?;
    Ok(())
}

/// When the message with this number is due, in nanoseconds. Computed from the start, so that errors do not add up.
fn due(begin: u64, count: usize, rate: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 messages")]
    let after = Duration::try_from_secs_f64(count as f64 / rate).unwrap_or(Duration::MAX);
    begin.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns false if the run ended before that.
fn wait_until(run: &Run, instant: Instant) -> bool {
    loop {
        if run.is_over() {
            return false;
        }
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(POLL_INTERVAL));
    }
}

/// Linux wakes threads up to 50 µs late by default, to save power.
fn reduce_timer_slack() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_schedule_does_not_drift() {
        assert_eq!(due(5, 0, 3.0), 5);
        assert_eq!(due(0, 3_000_000, 3.0), 1_000_000_000_000_000);
        assert_eq!(due(0, 1, 0.5), 2_000_000_000);
    }

    #[test]
    fn publishers_take_turns_on_schedule() {
        let run = Arc::new(Run::start(1, 1).unwrap());
        let (first, at_first) = mpsc::channel();
        let (second, at_second) = mpsc::channel();
        run.measure(0, run.now() + 100_000_000);
        let publishers = vec![(0, Publisher::Redis(first)), (1, Publisher::Redis(second))];
        start(run.clone(), 100.0, publishers).unwrap();
        let firsts: Vec<ScheduledMessage> = at_first.iter().collect();
        let seconds: Vec<ScheduledMessage> = at_second.iter().collect();
        // The measurement starts before the pacer does; on a busy machine, well before.
        assert!((2..=5).contains(&firsts.len()), "{firsts:?}");
        assert!(firsts.len() - seconds.len() <= 1);
        for (one, next) in firsts.iter().zip(firsts.iter().skip(1)) {
            assert_eq!(next.due - one.due, 20_000_000);
        }
        assert!(seconds.iter().all(|message| message.channel == 1));
    }
}
