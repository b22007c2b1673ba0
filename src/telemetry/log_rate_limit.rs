//! Limits how often each kind of line is logged, so that clients cannot fill the disk or drown other lines.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The fields whose values tell kinds of lines from one call site apart.
const DISTINGUISHING_FIELDS: [&str; 2] = ["reason", "kind"];
/// Maximum kinds of lines per call site, whatever values clients can cause.
const MAX_KINDS: u64 = 1024;

/// How fast one kind of line may be logged.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

impl Rate {
    /// Twenty warnings of one kind tell an operator enough.
    const WARNINGS: Self = Self { burst: 20.0, per_second: 0.1 };
    /// Connections come and go, also many at once.
    const INFO: Self = Self { burst: 1_000.0, per_second: 200.0 };

    /// `None`: unlimited.
    fn of(level: Level) -> Option<Self> {
        match level {
            Level::ERROR | Level::WARN => Some(Self::WARNINGS),
            Level::INFO => Some(Self::INFO),
            _ => None,
        }
    }
}

/// A layer that suppresses lines beyond the rate of their kind. A kind is a call site, together with the values of
/// [`DISTINGUISHING_FIELDS`].
#[derive(Debug, Clone, Default)]
pub(super) struct LogRateLimit(Arc<Mutex<HashMap<LineKind, LineRate>>>);

/// A call site, and a hash of the distinguishing fields.
type LineKind = (Identifier, u16);

#[derive(Debug)]
struct LineRate {
    level: Level,
    allowance: f64,
    updated_at: Instant,
    suppressed: u64,
    /// The first suppressed line.
    example: LineExample,
}

impl LogRateLimit {
    /// Logs for each kind how many lines were suppressed since the last call.
    pub(super) fn log_suppressed(&self) {
        let suppressed: Vec<(Level, u64, LineExample)> = self
            .lock()
            .values_mut()
            .filter(|rate| rate.suppressed > 0)
            .map(|rate| (rate.level, std::mem::take(&mut rate.suppressed), std::mem::take(&mut rate.example)))
            .collect();
        // Logged without the lock, which each line takes.
        for (level, count, LineExample { line, reason }) in suppressed {
            if level == Level::INFO {
                tracing::info!(count, line, reason, "log lines suppressed (rate limit)");
            } else {
                tracing::warn!(count, line, reason, "log lines suppressed (rate limit)");
            }
        }
    }

    fn permits(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if metadata.target() == module_path!() {
            return true;
        }
        let Some(rate) = Rate::of(*metadata.level()) else { return true };
        let kind = (metadata.callsite(), hash_of_fields(event));
        let mut kinds = self.lock();
        let line = kinds.entry(kind.clone()).or_insert_with(|| LineRate {
            level: *metadata.level(),
            allowance: rate.burst,
            updated_at: now,
            suppressed: 0,
            example: LineExample::default(),
        });
        let is_permitted = line.take(rate, now);
        if !is_permitted {
            line.suppressed += 1;
            if line.suppressed == 1 {
                // Recorded without the lock: a field's formatter may panic, which logs a line.
                drop(kinds);
                let mut example = LineExample::default();
                event.record(&mut example);
                if let Some(line) = self.lock().get_mut(&kind) {
                    line.example = example;
                }
            }
        }
        is_permitted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LineKind, LineRate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for LogRateLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.permits(event, Instant::now())
    }
}

impl LineRate {
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.updated_at).as_secs_f64();
        self.allowance = (self.allowance + elapsed * rate.per_second).min(rate.burst);
        self.updated_at = now;
        let is_permitted = self.allowance >= 1.0;
        if is_permitted {
            self.allowance -= 1.0;
        }
        is_permitted
    }
}

/// A hash of the distinguishing fields; 0 without any.
fn hash_of_fields(event: &Event<'_>) -> u16 {
    if !has_distinguishing_fields(event.metadata()) {
        return 0;
    }
    let mut hash = FieldHash(DefaultHasher::new());
    event.record(&mut hash);
    u16::try_from(hash.0.finish() % MAX_KINDS).unwrap_or(0)
}

fn has_distinguishing_fields(metadata: &Metadata<'_>) -> bool {
    DISTINGUISHING_FIELDS.iter().any(|name| metadata.fields().field(name).is_some())
}

struct FieldHash(DefaultHasher);

impl Visit for FieldHash {
    fn record_str(&mut self, field: &Field, value: &str) {
        if DISTINGUISHING_FIELDS.contains(&field.name()) {
            self.0.write(value.as_bytes());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if DISTINGUISHING_FIELDS.contains(&field.name()) {
            self.0.write(format!("{value:?}").as_bytes());
        }
    }
}

#[derive(Debug, Default)]
struct LineExample {
    line: String,
    reason: Option<String>,
}

impl Visit for LineExample {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "reason" {
            self.reason = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.line = format!("{value:?}"),
            "reason" => self.reason = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{fmt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` runs.
    fn written(work: impl FnOnce(&LogRateLimit)) -> String {
        let (limit, text) = (LogRateLimit::default(), Written::default());
        let writer = {
            let text = text.clone();
            move || text.clone()
        };
        let lines = fmt::layer().with_writer(writer).with_ansi(false);
        tracing::subscriber::with_default(registry().with(limit.clone()).with(lines), || work(&limit));
        let bytes = text.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_beyond_the_rate_are_suppressed_and_counted_once() {
        let text = written(|limit| {
            for n in 0..500 {
                tracing::warn!(n, "the river rises");
                tracing::warn!(n, "another line");
                tracing::info!(n, "a client connected");
                tracing::debug!(n, "a detail");
            }
            limit.log_suppressed();
            limit.log_suppressed();
        });
        assert_eq!(text.matches("the river rises n=").count(), 20, "{text}");
        assert_eq!(text.matches("another line n=").count(), 20);
        assert_eq!(text.matches("a client connected").count(), 500);
        assert_eq!(text.matches("a detail").count(), 500);
        let suppressed: Vec<_> = text.lines().filter(|line| line.contains("suppressed")).collect();
        assert_eq!(suppressed.len(), 2, "{suppressed:#?}");
        for expected in ["count=480 line=\"the river rises\"", "count=480 line=\"another line\""] {
            assert!(suppressed.iter().any(|line| line.contains(expected)), "{suppressed:#?}");
        }
    }

    #[test]
    fn a_reason_does_not_use_up_the_rate_of_another() {
        let text = written(|limit| {
            for n in 0..100 {
                tracing::warn!(n, reason = "invalid_json", "message dropped");
                tracing::warn!(n, kind = "chat", "keys removed");
            }
            tracing::warn!(kind = "tweet", "keys removed");
            tracing::warn!(reason = "too_large", "message dropped");
            limit.log_suppressed();
        });
        assert_eq!(text.matches("message dropped n=").count(), 20, "{text}");
        assert_eq!(text.matches("reason=\"too_large\"").count(), 1, "{text}");
        assert_eq!(text.matches("kind=\"chat\"").count(), 20, "{text}");
        assert_eq!(text.matches("kind=\"tweet\"").count(), 1, "{text}");
        assert!(text.contains("count=80 line=\"message dropped\" reason=\"invalid_json\""), "{text}");
    }

    #[test]
    fn the_rate_recovers_over_time() {
        let start = Instant::now();
        let mut line = LineRate {
            level: Level::WARN,
            allowance: 20.0,
            updated_at: start,
            suppressed: 0,
            example: LineExample::default(),
        };
        let mut take = |seconds| line.take(Rate::WARNINGS, start + std::time::Duration::from_secs(seconds));
        assert_eq!((0..30).filter(|_| take(0)).count(), 20);
        assert!(!take(9));
        assert!(take(10) && !take(19) && take(20));
        assert_eq!((0..30).filter(|_| take(10_000)).count(), 20, "never more than the burst");
    }
}
