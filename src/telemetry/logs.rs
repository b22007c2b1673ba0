use std::io::IsTerminal;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};

use super::log_rate_limit::LogRateLimit;
use super::log_writer;
use super::panics::log_panics;
use super::settings::{LogFormat, Settings};
use super::text_fields::TextFields;

/// Why `log.level` is not a filter.
#[derive(Debug, Error)]
pub enum LogFilterError {
    #[error("is neither a level (error, warn, info, debug, trace) nor a filter: {0}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
    /// A filter would take the word for a target and silence all others.
    #[error("{0:?} is not a level (error, warn, info, debug, trace, off); for a target write {0}=debug")]
    UnknownLevel(String),
}

/// How often suppressed and dropped lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

static RATE_LIMIT: OnceLock<LogRateLimit> = OnceLock::new();

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

pub fn validate_filter(level: &str) -> Result<(), LogFilterError> {
    filter(level).map(drop)
}

/// Starts logging, including panics, to standard error. Takes effect once per process. Call [`super::flush_logs`] before
/// the process ends.
pub fn init_logs(settings: &Settings) -> Result<(), LogFilterError> {
    let filter = filter(&settings.level)?;
    if RATE_LIMIT.get().is_some() {
        return Ok(());
    }
    let writer = log_writer::start(settings.format == LogFormat::Json);
    let lines = fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.format {
        LogFormat::Text => lines.fmt_fields(TextFields).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let rate_limit = RATE_LIMIT.get_or_init(LogRateLimit::default);
    let (filter, handle) = reload::Layer::new(filter);
    let subscriber = registry().with(filter).with(rate_limit.clone()).with(lines);
    // Not `try_init`: that also captures records of the `log` crate, in which tungstenite logs message contents.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = FILTER.set(handle);
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

/// Replaces `log.level`. Has no effect before [`init_logs`].
pub fn set_log_level(level: &str) -> Result<(), LogFilterError> {
    let filter = filter(level)?;
    if let Some(handle) = FILTER.get() {
        // Fails only after the subscriber is gone.
        let _ = handle.reload(filter);
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

fn filter(level: &str) -> Result<EnvFilter, LogFilterError> {
    let is_word = |part: &&str| part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let words = level.split(',').map(str::trim).filter(|part| !part.is_empty()).filter(is_word);
    if let Some(word) = words.into_iter().find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(LogFilterError::UnknownLevel(word.to_owned()));
    }
    Ok(EnvFilter::builder().parse(level)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_a_level_is_rejected() {
        for good in ["info", "WARN", "off", "info,tower::util=debug", "yamabiko=trace, warn", "3"] {
            assert!(validate_filter(good).is_ok(), "{good}");
        }
        for wrong in ["warning", "verbose", "info,hyper", "a=b=c", "info,yamabiko=loud"] {
            assert!(validate_filter(wrong).is_err(), "{wrong}");
        }
        let message = validate_filter("info, warning").unwrap_err().to_string();
        assert!(message.starts_with("\"warning\" is not a level"), "{message}");
    }
}
