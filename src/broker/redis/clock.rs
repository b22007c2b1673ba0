use std::time::Duration;

use tokio::time::Instant;

/// Redis's clock as this node knows it, to say *not after* in Redis's own time.
///
/// The estimate errs towards too slow: it takes the server's time to be that of the moment when the answer
/// arrived, though it was read earlier. A deadline translated by it is never later than meant, and earlier by
/// no more than the round trip of the sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    at: Instant,
    /// Redis's Unix time at that moment, in microseconds.
    micros: u64,
}

impl Clock {
    /// From an answer that arrived at `received`. `None` if it took longer than `tolerance`, as after a pause.
    pub(super) fn sample(
        asked: Instant,
        received: Instant,
        micros: u64,
        tolerance: Duration,
    ) -> Option<Self> {
        (received.duration_since(asked) <= tolerance).then_some(Self { at: received, micros })
    }

    /// Redis's Unix time, in microseconds, at a moment of this node.
    pub(super) fn micros_at(&self, moment: Instant) -> u64 {
        let ahead = moment.saturating_duration_since(self.at);
        let behind = self.at.saturating_duration_since(moment);
        self.micros.saturating_add(micros(ahead)).saturating_sub(micros(behind))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_later_than_meant() {
        let asked = Instant::now();
        let received = asked + Duration::from_millis(30);
        // Redis read its clock somewhere between; at the worst, at once.
        let clock = Clock::sample(asked, received, 1_000_000, Duration::from_millis(30)).unwrap();
        let truth = |moment: Instant| 1_000_000 + micros(moment.duration_since(asked));
        let deadline = asked + Duration::from_secs(2);
        assert!(clock.micros_at(deadline) <= truth(deadline));
        assert_eq!(clock.micros_at(deadline), 2_970_000);
        assert_eq!(clock.micros_at(asked), 970_000);
    }

    #[test]
    fn an_answer_after_a_pause_tells_nothing() {
        let asked = Instant::now();
        let received = asked + Duration::from_millis(31);
        assert!(Clock::sample(asked, received, 1, Duration::from_millis(30)).is_none());
    }
}
