use crate::unix_time::unix_time;
use std::time::{Duration, Instant};

/// Seconds since the hub started: coarse, monotonic and four bytes small.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The current second.
    #[must_use]
    pub fn now(self) -> u32 {
        u32::try_from(self.0.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// The same moment in milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The second of a moment in milliseconds.
    #[must_use]
    pub fn second(millis: u64) -> u32 {
        u32::try_from(millis / 1000).unwrap_or(u32::MAX)
    }

    /// The first second that is not before a moment in Unix seconds; 0 if that has passed.
    #[must_use]
    pub fn at_unix(self, moment: u64) -> u32 {
        let Some(left) = Duration::from_secs(moment).checked_sub(unix_time()) else { return 0 };
        let at = self.0.elapsed().saturating_add(left);
        u32::try_from(at.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_never_rounded_down() {
        let clock = Clock::start();
        let now = unix_time().as_secs();
        assert_eq!(clock.at_unix(now.saturating_sub(5)), 0);
        let at = clock.at_unix(now + 11);
        assert!([10, 11].contains(&at), "{at}");
        assert_eq!(clock.at_unix(u64::MAX), u32::MAX);
    }
}
