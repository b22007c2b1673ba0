use std::time::Duration;

use rand::Rng;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait before the next attempt: doubling up to a cap, with jitter, so that many nodes do not
/// come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { ceiling: SHORTEST }
    }

    /// Between half of the ceiling and all of it; the ceiling rises.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(LONGEST);
        rand::rng().random_range(ceiling / 2..=ceiling)
    }

    /// Begins anew, after a connection that held.
    pub(super) const fn reset(&mut self) {
        self.ceiling = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_cap_and_begins_anew() {
        let mut backoff = Backoff::new();
        for ceiling in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = backoff.next().as_millis();
            assert!((ceiling / 2..=ceiling).contains(&wait), "{wait} of {ceiling}");
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
