use std::io::IsTerminal;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::log_level::{LogFilterError, filter_layer, validate_filter};
use super::log_rate_limit::LogRateLimit;
use super::log_writer;
use super::panics::log_panics;
use super::settings::{LogFormat, Settings};
use super::text_fields::TextFields;

/// How often suppressed and dropped lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

static RATE_LIMIT: OnceLock<LogRateLimit> = OnceLock::new();

/// Starts logging, including panics, to standard error. Takes effect once per process. Call [`super::flush_logs`] before
/// the process ends.
pub fn init_logs(settings: &Settings) -> Result<(), LogFilterError> {
    if RATE_LIMIT.get().is_some() {
        return validate_filter(&settings.level);
    }
    let (filter, in_force) = filter_layer(&settings.level)?;
    let writer = log_writer::start(settings.format == LogFormat::Json);
    let lines = fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.format {
        LogFormat::Text => lines.fmt_fields(TextFields).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let rate_limit = RATE_LIMIT.get_or_init(LogRateLimit::default);
    let subscriber = registry().with(filter).with(rate_limit.clone()).with(lines);
    // Not `try_init`: that also captures records of the `log` crate, in which tungstenite logs message contents.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        in_force();
        log_panics();
        // Without the thread, suppressed lines are reported at the end.
        let _ = thread::Builder::new().name("logs".to_owned()).spawn(|| {
            let mut reported = 0;
            loop {
                thread::sleep(REPORT_INTERVAL);
                rate_limit.log_suppressed();
                log_dropped(&mut reported);
            }
        });
    }
    Ok(())
}

/// A field that is a number or a string. A string is quoted, so that it cannot look like another field.
#[must_use]
pub fn logged<'a>(field: Result<i64, &'a str>) -> Box<dyn tracing::Value + 'a> {
    match field {
        Ok(number) => Box::new(number),
        Err(text) => Box::new(text),
    }
}

/// Logs how many lines were suppressed and not yet reported. For the end of the process.
pub fn log_suppressed_lines() {
    if let Some(rate_limit) = RATE_LIMIT.get() {
        rate_limit.log_suppressed();
    }
}

/// Logs how many lines were dropped, once the reader reads again.
fn log_dropped(reported: &mut u64) {
    let dropped = log_writer::dropped_lines();
    if dropped > *reported {
        tracing::warn!(count = dropped - *reported, "log lines dropped: standard error is read too slowly");
        // If this line was dropped too, it is repeated the next time.
        if log_writer::dropped_lines() == dropped {
            *reported = dropped;
        }
    }
}
