//! Which channels are busy, and who sends: the question of an operator who looks for a flood. Metrics do not answer it, because
//! they have no label for what clients can invent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many names are counted at most, of channels and of senders each. A name that has more than 1/1024 of all messages is always
/// among them.
const NAMES: usize = 1024;

/// The shortest time over which messages are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Counting ends when nobody has asked for this long.
const WATCHED: Duration = Duration::from_secs(30);

/// Counts the messages of channels and senders while somebody asks for them. Otherwise a message costs the read of a flag.
#[derive(Debug, Default)]
pub struct Traffic {
    is_watched: AtomicBool,
    windows: Mutex<Windows>,
}

/// How often something occurred.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    pub name: String,
    pub per_second: f64,
}

/// The messages of the latest complete window: the busiest first.
#[derive(Debug, Clone, Default)]
pub struct BusiestNames {
    pub channels: Vec<Rate>,
    pub senders: Vec<Rate>,
}

#[derive(Debug, Default)]
struct Windows {
    current: Option<Window>,
    complete: BusiestNames,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    channels: Counts,
    senders: Counts,
}

impl Traffic {
    /// Counts a message that arrived for delivery. The sender is only asked for if it counts.
    pub fn count(&self, channel: &str, sender: impl FnOnce() -> Option<String>) {
        if self.is_watched.load(Ordering::Relaxed) {
            self.count_watched(channel, sender());
        }
    }

    /// The busiest channels and senders. The first question turns counting on, so that its answer is empty.
    #[must_use]
    pub fn busiest(&self) -> BusiestNames {
        self.busiest_at(Instant::now())
    }

    fn busiest_at(&self, now: Instant) -> BusiestNames {
        let mut windows = self.windows();
        let age = windows.current.as_ref().map(|window| now.saturating_duration_since(window.since));
        if age.is_none_or(|age| age >= WINDOW) {
            let ended = windows.current.replace(Window::new(now));
            windows.complete = match (ended, age) {
                (Some(ended), Some(age)) => ended.busiest(age),
                _ => BusiestNames::default(),
            };
        }
        self.is_watched.store(true, Ordering::Relaxed);
        windows.complete.clone()
    }

    #[cold]
    fn count_watched(&self, channel: &str, sender: Option<String>) {
        let mut windows = self.windows();
        let Some(window) = &mut windows.current else { return };
        if window.since.elapsed() > WATCHED {
            *windows = Windows::default();
            self.is_watched.store(false, Ordering::Relaxed);
            return;
        }
        window.channels.add(channel);
        if let Some(sender) = sender {
            window.senders.add(&sender);
        }
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(since: Instant) -> Self {
        Self { since, channels: Counts::default(), senders: Counts::default() }
    }

    fn busiest(self, age: Duration) -> BusiestNames {
        BusiestNames { channels: self.channels.rates(age), senders: self.senders.rates(age) }
    }
}

/// Counts the frequent ones of any number of names in bounded memory (Misra and Gries, 1982). A count is exact until the names
/// are too many, and too low by at most one in [`NAMES`] of all messages afterwards.
#[derive(Debug, Default)]
struct Counts(HashMap<String, u64>);

impl Counts {
    fn add(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
        } else if self.0.len() < NAMES {
            self.0.insert(name.to_owned(), 1);
        } else {
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    fn rates(self, age: Duration) -> Vec<Rate> {
        let mut counts: Vec<(String, u64)> = self.0.into_iter().collect();
        counts.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |(name, count)| Rate { name, per_second: count as f64 / age.as_secs_f64() };
        counts.into_iter().map(rate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_until_somebody_asks() {
        let traffic = Traffic::default();
        traffic.count("a", || panic!("nobody has asked"));
        let start = Instant::now();
        assert!(traffic.busiest_at(start).channels.is_empty());
        for _ in 0..6 {
            traffic.count("a", || Some("7".to_owned()));
        }
        traffic.count("b", || None);
        assert!(traffic.busiest_at(start + WINDOW / 2).channels.is_empty(), "the window is too short");
        let BusiestNames { channels, senders } = traffic.busiest_at(start + 2 * WINDOW);
        let rate = |name: &str, per_second| Rate { name: name.to_owned(), per_second };
        assert_eq!(channels, [rate("a", 3.0), rate("b", 0.5)]);
        assert_eq!(senders, [rate("7", 3.0)]);
        // Somebody else who asks at the same time gets the same.
        assert_eq!(traffic.busiest_at(start + 2 * WINDOW).channels.len(), 2);
    }

    #[test]
    fn counting_ends_when_nobody_asks_any_more() {
        let traffic = Traffic::default();
        let Some(long_ago) = Instant::now().checked_sub(WATCHED + WINDOW) else { return };
        traffic.busiest_at(long_ago);
        traffic.count("a", || None);
        traffic.count("a", || panic!("nobody asks any more"));
        assert!(traffic.windows().current.is_none());
    }

    #[test]
    fn a_flood_is_found_among_any_number_of_names() {
        let mut counts = Counts::default();
        for number in 0..100_000 {
            counts.add(&number.to_string());
            if number % 50 == 0 {
                counts.add("flood");
            }
        }
        assert!(counts.0.len() <= NAMES);
        let busiest = counts.rates(Duration::from_secs(1));
        assert_eq!(busiest[0].name, "flood");
        // Of 2,000, with an error of 102,000 / 1,024 at most.
        assert!(busiest[0].per_second > 1_900.0, "{:?}", busiest[0]);
    }
}
