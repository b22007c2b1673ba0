use std::time::Duration;

use tokio::time::Instant;

/// Stops requests to an application that fails, and tries one from time to time.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    /// Failures since the last success.
    failures: u32,
    /// When the next request is permitted, while the circuit is open.
    retry_at: Option<Instant>,
}

/// This many failures in a row open the circuit.
pub(super) const MAX_FAILURES: u32 = 5;

/// How long an open circuit permits no request. Afterwards it permits one in this time.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

impl CircuitBreaker {
    /// Whether a request may be made. Its outcome must be reported.
    pub(super) fn try_pass(&mut self, now: Instant) -> bool {
        match self.retry_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                self.retry_at = Some(now + OPEN_FOR);
                true
            }
        }
    }

    /// Returns whether this has closed the circuit.
    pub(super) fn on_success(&mut self) -> bool {
        self.failures = 0;
        self.retry_at.take().is_some()
    }

    /// Returns whether this has opened the circuit.
    pub(super) fn on_failure(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= MAX_FAILURES && self.retry_at.is_none();
        if self.failures >= MAX_FAILURES {
            self.retry_at = Some(now + OPEN_FOR);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_the_circuit_and_a_success_closes_it() {
        let (mut breaker, start) = (CircuitBreaker::default(), Instant::now());
        for _ in 1..MAX_FAILURES {
            assert!(breaker.try_pass(start));
            assert!(!breaker.on_failure(start));
        }
        assert!(!breaker.on_success());
        for number in 1..=MAX_FAILURES {
            assert!(breaker.try_pass(start));
            assert_eq!(breaker.on_failure(start), number == MAX_FAILURES);
        }
        assert!(!breaker.try_pass(start));
        let later = start + OPEN_FOR;
        assert!(!breaker.try_pass(later - Duration::from_millis(1)));
        // One request at a time, until one succeeds.
        assert_eq!([breaker.try_pass(later), breaker.try_pass(later)], [true, false]);
        assert!(!breaker.on_failure(later));
        assert!(!breaker.try_pass(later));
        assert!(breaker.try_pass(later + OPEN_FOR));
        assert!(breaker.on_success());
        assert!(breaker.try_pass(later));
    }
}
