use std::time::Duration;

const INITIAL: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(1);
/// The cap while nothing listens at the address: a refused connection costs nothing, so retries may be frequent.
const MAX_WHILE_ABSENT: Duration = Duration::from_millis(250);

/// Delay before the next attempt: doubles up to a cap, with jitter so that many nodes do not reconnect in step.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { ceiling: INITIAL }
    }

    /// A random delay between half of the ceiling and the ceiling, which then doubles.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(MAX);
        jittered(ceiling)
    }

    /// The same with a lower cap, for when nothing listens yet: a Redis that starts is found soon.
    pub(super) fn next_while_absent(&mut self) -> Duration {
        let ceiling = self.ceiling.min(MAX_WHILE_ABSENT);
        self.ceiling = (ceiling * 2).min(MAX_WHILE_ABSENT);
        jittered(ceiling)
    }

    /// Starts over, after a connection that lasted.
    pub(super) const fn reset(&mut self) {
        self.ceiling = INITIAL;
    }
}

fn jittered(ceiling: Duration) -> Duration {
    rand::random_range(ceiling / 2..=ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_cap_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new();
        for ceiling in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next().as_millis();
            assert!((ceiling / 2..=ceiling).contains(&wait), "{wait} of {ceiling}");
        }
        for _ in 0..100 {
            assert!(backoff.next_while_absent() <= MAX_WHILE_ABSENT);
        }
        backoff.reset();
        assert!(backoff.next() <= INITIAL);
    }
}
