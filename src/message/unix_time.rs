use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970; zero if the clock of the machine is before that.
#[must_use]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
