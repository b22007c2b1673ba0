use std::time::Duration;

use tokio::time::Instant;

/// Notices within a second that a subscribed connection has fallen silent: twice [`TICK`] without a word, the second
/// one after a PING.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How long Redis may be silent until it counts as lost.
    patience: Duration,
    heard: bool,
    asked: Option<Instant>,
    state: State,
}

/// How often the pulse is taken.
pub(super) const TICK: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Silent,
    Lost,
}

/// What to do after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    /// Send a PING.
    Ask,
    /// The PING has no answer: look for another connection, and keep this one until that stands.
    Silent,
    /// The PING has had no answer for so long that Redis counts as lost.
    Lost,
}

impl Pulse {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, heard: true, asked: None, state: State::Alive }
    }

    /// Something has been read. Whether that ends a silence.
    pub(super) fn heard(&mut self) -> bool {
        (self.heard, self.asked) = (true, None);
        std::mem::replace(&mut self.state, State::Alive) != State::Alive
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state != State::Alive
    }

    pub(super) fn tick(&mut self, now: Instant) -> Beat {
        if std::mem::take(&mut self.heard) {
            return Beat::Nothing;
        }
        let Some(asked) = self.asked else {
            self.asked = Some(now);
            return Beat::Ask;
        };
        match self.state {
            State::Alive => {
                self.state = State::Silent;
                Beat::Silent
            }
            State::Silent if now.duration_since(asked) >= self.patience => {
                self.state = State::Lost;
                Beat::Lost
            }
            State::Silent | State::Lost => Beat::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_noticed_within_a_second_and_ends_with_a_word() {
        let start = Instant::now();
        let mut pulse = Pulse::new(Duration::from_secs(2));
        let beats: Vec<Beat> = (1..=9).map(|number| pulse.tick(start + number * TICK)).collect();
        let nothing = Beat::Nothing;
        let expected =
            [nothing, Beat::Ask, Beat::Silent, nothing, nothing, nothing, nothing, nothing, Beat::Lost];
        assert_eq!(beats, expected);
        assert!(3 * TICK < Duration::from_secs(1));
        assert!(pulse.heard() && !pulse.is_silent());
        assert!(!pulse.heard());
        assert_eq!([10, 11].map(|number| pulse.tick(start + number * TICK)), [nothing, Beat::Ask]);
    }
}
