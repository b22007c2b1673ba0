use std::time::Duration;

use tokio::time::Instant;

/// Detects within a second that a connection has gone silent: nothing was read for two [`TICK`]s, although a PING was
/// sent after the first.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// After this time without an answer to the PING, Redis counts as lost.
    timeout: Duration,
    has_read: bool,
    pinged_at: Option<Instant>,
    state: Responsiveness,
}

/// How often [`Keepalive::tick`] is called.
pub(super) const TICK: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Responsiveness {
    Responsive,
    Unresponsive,
    Lost,
}

/// What to do after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeepaliveAction {
    None,
    SendPing,
    /// The PING has no answer yet: open another connection, and keep this one until that is ready.
    ReportUnresponsive,
    /// The PING has had no answer for the whole timeout.
    ReportLost,
}

impl Keepalive {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, has_read: true, pinged_at: None, state: Responsiveness::Responsive }
    }

    /// Something has been read. Returns whether the connection was unresponsive.
    pub(super) fn on_read(&mut self) -> bool {
        (self.has_read, self.pinged_at) = (true, None);
        std::mem::replace(&mut self.state, Responsiveness::Responsive) != Responsiveness::Responsive
    }

    pub(super) fn is_unresponsive(&self) -> bool {
        self.state != Responsiveness::Responsive
    }

    pub(super) fn tick(&mut self, now: Instant) -> KeepaliveAction {
        if std::mem::take(&mut self.has_read) {
            return KeepaliveAction::None;
        }
        let Some(pinged_at) = self.pinged_at else {
            self.pinged_at = Some(now);
            return KeepaliveAction::SendPing;
        };
        match self.state {
            Responsiveness::Responsive => {
                self.state = Responsiveness::Unresponsive;
                KeepaliveAction::ReportUnresponsive
            }
            Responsiveness::Unresponsive if now.duration_since(pinged_at) >= self.timeout => {
                self.state = Responsiveness::Lost;
                KeepaliveAction::ReportLost
            }
            Responsiveness::Unresponsive | Responsiveness::Lost => KeepaliveAction::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_detected_within_a_second_and_ends_with_a_read() {
        use KeepaliveAction::{None, ReportLost, ReportUnresponsive, SendPing};

        let start = Instant::now();
        let mut keepalive = Keepalive::new(Duration::from_secs(2));
        let actions: Vec<_> = (1..=9).map(|number| keepalive.tick(start + number * TICK)).collect();
        let expected = [None, SendPing, ReportUnresponsive, None, None, None, None, None, ReportLost];
        assert_eq!(actions, expected);
        assert!(3 * TICK < Duration::from_secs(1));
        assert!(keepalive.on_read() && !keepalive.is_unresponsive());
        assert!(!keepalive.on_read());
        assert_eq!([10, 11].map(|number| keepalive.tick(start + number * TICK)), [None, SendPing]);
    }
}
