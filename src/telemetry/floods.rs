//! Keeps the log readable, and the disk free, where one line would be written thousands of times: strangers can
//! cause lines, too.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How fast one place in the code may write.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// So many lines at once.
    burst: f64,
    /// And so many a second in the long run.
    per_second: f64,
}

impl Pace {
    /// Whoever has read twenty warnings of one kind knows.
    const TROUBLE: Self = Self { burst: 20.0, per_second: 0.1 };
    /// Connections come and go, also many at once.
    const NEWS: Self = Self { burst: 1_000.0, per_second: 200.0 };

    /// `None`: without a limit. Who asks for `debug` wants to see all of it.
    fn of(level: Level) -> Option<Self> {
        match level {
            Level::ERROR | Level::WARN => Some(Self::TROUBLE),
            Level::INFO => Some(Self::NEWS),
            _ => None,
        }
    }
}

/// Leaves out the lines that are too many, by the place in the code that writes them and by their reason where they have
/// one, and sums them up.
#[derive(Debug, Clone, Default)]
pub(super) struct Floods(Arc<Mutex<HashMap<Kind, Place>>>);

/// A place in the code, and a number made of the reason.
type Kind = (Identifier, u16);

/// No place has more kinds of lines than this, whatever strangers make the reasons say.
const REASONS: u64 = 1024;

/// One kind of lines. There are only as many places as the program has.
#[derive(Debug)]
struct Place {
    level: Level,
    allowance: f64,
    at: Instant,
    left_out: u64,
    /// What the first one said, and its reason.
    message: Message,
}

impl Floods {
    /// Says of each place how many lines were left out since the last time.
    pub(super) fn sum_up(&self) {
        let flooded: Vec<(Level, u64, Message)> = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values_mut()
            .filter(|place| place.left_out > 0)
            .map(|place| {
                (place.level, std::mem::take(&mut place.left_out), std::mem::take(&mut place.message))
            })
            .collect();
        // Written without the lock, which each line takes.
        for (level, count, Message { line, reason }) in flooded {
            if level == Level::INFO {
                tracing::info!(count, line, reason, "lines were left out of the log: too many of one kind");
            } else {
                tracing::warn!(count, line, reason, "lines were left out of the log: too many of one kind");
            }
        }
    }

    fn permits(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if metadata.target() == module_path!() {
            return true;
        }
        let Some(pace) = Pace::of(*metadata.level()) else { return true };
        let kind = (metadata.callsite(), reason_of(event));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = known.entry(kind.clone()).or_insert_with(|| Place {
            level: *metadata.level(),
            allowance: pace.burst,
            at: now,
            left_out: 0,
            message: Message::default(),
        });
        let permitted = here.take(pace, now);
        if !permitted {
            here.left_out += 1;
            if here.left_out == 1 {
                // Written down without the lock: where that panics, the panic is logged, too.
                drop(known);
                let mut message = Message::default();
                event.record(&mut message);
                let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(here) = known.get_mut(&kind) {
                    here.message = message;
                }
            }
        }
        permitted
    }
}

impl<S: Subscriber> Layer<S> for Floods {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.permits(event, Instant::now())
    }
}

impl Place {
    fn take(&mut self, pace: Pace, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.allowance = (self.allowance + elapsed * pace.per_second).min(pace.burst);
        self.at = now;
        let permitted = self.allowance >= 1.0;
        if permitted {
            self.allowance -= 1.0;
        }
        permitted
    }
}

/// A number for the `reason` of a line; 0 where there is none.
fn reason_of(event: &Event<'_>) -> u16 {
    if event.metadata().fields().field("reason").is_none() {
        return 0;
    }
    let mut hash = Hash(DefaultHasher::new());
    event.record(&mut hash);
    u16::try_from(hash.0.finish() % REASONS).unwrap_or(0)
}

struct Hash(DefaultHasher);

impl Visit for Hash {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "reason" {
            self.0.write(value.as_bytes());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "reason" {
            self.0.write(format!("{value:?}").as_bytes());
        }
    }
}

#[derive(Debug, Default)]
struct Message {
    line: String,
    reason: Option<String>,
}

impl Visit for Message {
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
    fn written(work: impl FnOnce(&Floods)) -> String {
        let (floods, text) = (Floods::default(), Written::default());
        let writer = {
            let text = text.clone();
            move || text.clone()
        };
        let lines = fmt::layer().with_writer(writer).with_ansi(false);
        tracing::subscriber::with_default(registry().with(floods.clone()).with(lines), || work(&floods));
        let bytes = text.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_flood_is_cut_and_summed_up_once() {
        let text = written(|floods| {
            for n in 0..500 {
                tracing::warn!(n, "the river rises");
                tracing::warn!(n, "another one");
                tracing::info!(n, "somebody came");
                tracing::debug!(n, "a detail");
            }
            floods.sum_up();
            floods.sum_up();
        });
        assert_eq!(text.matches("the river rises n=").count(), 20, "{text}");
        assert_eq!(text.matches("another one n=").count(), 20);
        assert_eq!(text.matches("somebody came").count(), 500);
        assert_eq!(text.matches("a detail").count(), 500);
        let summed_up: Vec<_> = text.lines().filter(|line| line.contains("left out")).collect();
        assert_eq!(summed_up.len(), 2, "{summed_up:#?}");
        for said in ["count=480 line=\"the river rises\"", "count=480 line=\"another one\""] {
            assert!(summed_up.iter().any(|line| line.contains(said)), "{summed_up:#?}");
        }
    }

    #[test]
    fn one_reason_does_not_hide_another() {
        let text = written(|floods| {
            for n in 0..100 {
                tracing::warn!(n, reason = "invalid_json", "message dropped");
            }
            tracing::warn!(reason = "too_large", "message dropped");
            floods.sum_up();
        });
        assert_eq!(text.matches("message dropped n=").count(), 20, "{text}");
        assert_eq!(text.matches("reason=\"too_large\"").count(), 1, "{text}");
        assert!(text.contains("count=80 line=\"message dropped\" reason=\"invalid_json\""), "{text}");
    }

    #[test]
    fn it_comes_back_with_time() {
        let start = Instant::now();
        let mut place = Place {
            level: Level::WARN,
            allowance: 20.0,
            at: start,
            left_out: 0,
            message: Message::default(),
        };
        let mut take = |seconds| place.take(Pace::TROUBLE, start + std::time::Duration::from_secs(seconds));
        assert_eq!((0..30).filter(|_| take(0)).count(), 20);
        assert!(!take(9));
        assert!(take(10) && !take(19) && take(20));
        assert_eq!((0..30).filter(|_| take(10_000)).count(), 20, "no more than at once");
    }
}
