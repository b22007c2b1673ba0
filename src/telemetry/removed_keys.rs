use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::labels::KindLabel;
use super::metrics::Metrics;

/// Maximum keys that one log line names.
const MAX_KEYS: usize = 8;
/// Maximum characters of a key in the log.
const MAX_KEY_CHARS: usize = 40;

/// Counts and logs the keys that the `fields` of a kind of channel removed from messages. Without it, a publisher who
/// misspells a key sees messages arrive without it, and no reason.
#[derive(Debug)]
pub struct RemovedKeys {
    metrics: Arc<Metrics>,
    counters: HashMap<String, Counter>,
    /// The keys of the current message.
    keys: Vec<String>,
}

impl RemovedKeys {
    /// Starts the counters of these kinds at 0.
    #[must_use]
    pub fn new<'a>(metrics: Arc<Metrics>, kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let mut removed = Self { metrics, counters: HashMap::new(), keys: Vec::new() };
        for kind in kinds {
            removed.counter(kind);
        }
        removed
    }

    /// Counts a key that was removed from the current message.
    pub fn count(&mut self, kind: &str, key: &str) {
        self.counter(kind).inc();
        if self.keys.len() < MAX_KEYS {
            self.keys.push(key.chars().take(MAX_KEY_CHARS).collect());
        }
    }

    /// Logs the keys that were removed from the current message.
    pub fn log(&mut self, kind: &str, channel: &str) {
        let keys = std::mem::take(&mut self.keys).join(", ");
        tracing::warn!(kind, channel, keys, "`fields` removed keys of a message");
    }

    fn counter(&mut self, kind: &str) -> &Counter {
        if !self.counters.contains_key(kind) {
            let counter = self.metrics.fields_left_out.get_or_create(&KindLabel::new(kind)).clone();
            self.counters.insert(kind.to_owned(), counter);
        }
        self.counters.entry(kind.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_shortened_for_the_log() {
        let metrics = Arc::new(Metrics::new());
        let mut removed = RemovedKeys::new(metrics.clone(), ["chat", "tweet"]);
        removed.count("chat", &"x".repeat(100));
        for number in 0..100 {
            removed.count("chat", &format!("key {number}"));
        }
        assert_eq!(removed.keys.len(), MAX_KEYS);
        assert_eq!(removed.keys[0], "x".repeat(MAX_KEY_CHARS));
        removed.log("chat", "chat:1");
        assert!(removed.keys.is_empty());
        let page = metrics.render();
        for line in ["{kind=\"chat\"} 101", "{kind=\"tweet\"} 0"] {
            assert!(page.contains(&format!("yamabiko_fields_left_out_total{line}\n")), "{page}");
        }
    }
}
