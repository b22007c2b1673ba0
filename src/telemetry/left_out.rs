use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::{Kind, Metrics};

/// Counts the keys that the `fields` of a kind of channel took out of messages, and names them in the log: whoever
/// misspells a key otherwise sees messages arrive without it, and nothing that says why.
#[derive(Debug)]
pub struct LeftOut {
    metrics: Arc<Metrics>,
    kinds: HashMap<String, Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    counter: Counter,
    /// Those that the log has not named yet, shortened.
    unnamed: Vec<String>,
    named_at: Option<Instant>,
}

/// How often the log names the keys of a kind.
const EVERY: Duration = Duration::from_secs(60);
/// How many keys one line names.
const KEYS: usize = 8;
/// How many characters of a key are shown.
const CHARACTERS: usize = 40;

impl LeftOut {
    /// Counts from 0 for each of these kinds.
    #[must_use]
    pub fn new<'a>(metrics: Arc<Metrics>, kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let mut left_out = Self { metrics, kinds: HashMap::new() };
        for kind in kinds {
            left_out.kind(kind);
        }
        left_out
    }

    /// Counts one key of a message.
    pub fn count(&mut self, kind: &str, key: &str) {
        let keys = self.kind(kind);
        keys.counter.inc();
        let is_known = keys.unnamed.iter().any(|known| key.chars().take(CHARACTERS).eq(known.chars()));
        if !is_known && keys.unnamed.len() < KEYS {
            keys.unnamed.push(key.chars().take(CHARACTERS).collect());
        }
    }

    /// Names what was counted, once a minute per kind at most. For the end of a message that had such keys.
    pub fn tell(&mut self, kind: &str, channel: &str) {
        let Some(keys) = self.due(kind, Instant::now()) else { return };
        tracing::warn!(kind, channel, keys = keys.as_str(), "`fields` left out keys of messages");
    }

    fn due(&mut self, kind: &str, now: Instant) -> Option<String> {
        let keys = self.kinds.get_mut(kind)?;
        if keys.named_at.is_some_and(|at| now.saturating_duration_since(at) < EVERY)
            || keys.unnamed.is_empty()
        {
            return None;
        }
        keys.named_at = Some(now);
        Some(std::mem::take(&mut keys.unnamed).join(", "))
    }

    fn kind(&mut self, kind: &str) -> &mut Keys {
        if !self.kinds.contains_key(kind) {
            let counter = self.metrics.fields_left_out.get_or_create(&Kind::new(kind)).clone();
            self.kinds.insert(kind.to_owned(), Keys { counter, ..Keys::default() });
        }
        self.kinds.entry(kind.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_named_once_a_minute() {
        let metrics = Arc::new(Metrics::new());
        let mut left_out = LeftOut::new(metrics.clone(), ["chat", "tweet"]);
        let start = Instant::now();
        for key in ["massage", "nmae", "massage"] {
            left_out.count("chat", key);
        }
        assert_eq!(left_out.due("chat", start).as_deref(), Some("massage, nmae"));
        for number in 0..100 {
            left_out.count("chat", &format!("{}{}", "x".repeat(100), number % 2));
            left_out.count("chat", &format!("key {number}"));
            assert_eq!(left_out.due("chat", start + EVERY / 2), None);
        }
        let named = left_out.due("chat", start + EVERY).unwrap();
        assert_eq!(named.split(", ").count(), KEYS, "{named}");
        assert!(named.starts_with(&format!("{}, key 0, ", "x".repeat(CHARACTERS))), "{named}");
        assert_eq!(left_out.due("chat", start + EVERY * 3), None);
        let page = metrics.render();
        for line in ["{kind=\"chat\"} 203", "{kind=\"tweet\"} 0"] {
            assert!(page.contains(&format!("yamabiko_fields_left_out_total{line}\n")), "{page}");
        }
    }
}
