use std::time::Duration;

use tokio::time::Instant;

/// An estimate of Redis's clock, to express deadlines in Redis's own time.
///
/// The estimate never runs ahead: it assumes that Redis read its clock when the answer arrived, although it read it
/// earlier. So a translated deadline is never later than intended, and at most one round trip earlier.
#[derive(Debug, Clone, Copy)]
pub(super) struct RedisClock {
    at: Instant,
    /// Redis's Unix time at that moment, in microseconds.
    micros: u64,
}

/// What Redis's clock showed in an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    micros: u64,
    asked: Instant,
    received: Instant,
}

impl ClockReading {
    /// A reading from an answer that has just been received.
    pub(super) fn new(seconds: i64, micros: i64, asked: Instant) -> Self {
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        let micros = positive(seconds).saturating_mul(1_000_000).saturating_add(positive(micros));
        Self { micros, asked, received: Instant::now() }
    }

    /// `None` if the round trip exceeded `tolerance`, for example after a pause.
    pub(super) fn clock(&self, tolerance: Duration) -> Option<RedisClock> {
        RedisClock::sample(self.asked, self.received, self.micros, tolerance)
    }
}

impl RedisClock {
    /// Takes a sample from an answer. `None` if the round trip exceeded `tolerance`.
    fn sample(asked: Instant, received: Instant, micros: u64, tolerance: Duration) -> Option<Self> {
        (received.duration_since(asked) <= tolerance).then_some(Self { at: received, micros })
    }

    /// Redis's Unix time in microseconds at a moment of this node's clock.
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
    fn a_translated_deadline_is_never_later_than_intended() {
        let asked = Instant::now();
        let received = asked + Duration::from_millis(30);
        // Redis read its clock in between; the worst case is right after `asked`.
        let clock = RedisClock::sample(asked, received, 1_000_000, Duration::from_millis(30)).unwrap();
        let truth = |moment: Instant| 1_000_000 + micros(moment.duration_since(asked));
        let deadline = asked + Duration::from_secs(2);
        assert!(clock.micros_at(deadline) <= truth(deadline));
        assert_eq!(clock.micros_at(deadline), 2_970_000);
        assert_eq!(clock.micros_at(asked), 970_000);
    }

    #[test]
    fn an_answer_after_a_pause_is_not_a_sample() {
        let asked = Instant::now();
        let received = asked + Duration::from_millis(31);
        assert!(RedisClock::sample(asked, received, 1, Duration::from_millis(30)).is_none());
    }
}
