use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// A port on which nothing listens refuses at once and at no cost, so that it may be asked this often.
const PROBE: Duration = Duration::from_millis(250);

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
        jittered(ceiling)
    }

    /// The same where nothing listens on the port: the first attempt after Redis starts should not be far away.
    pub(super) fn next_probe(&mut self) -> Duration {
        let ceiling = self.ceiling.min(PROBE);
        self.ceiling = (ceiling * 2).min(PROBE);
        jittered(ceiling)
    }

    /// Begins anew, after a connection that held.
    pub(super) const fn reset(&mut self) {
        self.ceiling = SHORTEST;
    }
}

fn jittered(ceiling: Duration) -> Duration {
    rand::random_range(ceiling / 2..=ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_cap_and_begins_anew() {
        let mut backoff = Backoff::new();
        for ceiling in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next().as_millis();
            assert!((ceiling / 2..=ceiling).contains(&wait), "{wait} of {ceiling}");
        }
        for _ in 0..100 {
            assert!(backoff.next_probe() <= PROBE);
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
