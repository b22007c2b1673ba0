//! `log.level`, and what replaces it for a while.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Why `log.level` is not a filter.
#[derive(Debug, Error)]
pub enum LogFilterError {
    #[error("is neither a level (error, warn, info, debug, trace) nor a filter: {0}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
    /// A filter would take the word for a target and silence all others.
    #[error("{0:?} is not a level (error, warn, info, debug, trace, off); for a target write {0}=debug")]
    UnknownLevel(String),
}

/// The level that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogLevel {
    pub level: String,
    /// The Unix second at which `log.level` returns. `None`: it is in force.
    pub until: Option<u64>,
}

/// What the filter is made of.
#[derive(Debug, Default)]
struct Levels {
    /// `log.level`.
    configured: String,
    temporary: Option<(String, u64)>,
}

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

static LEVELS: Mutex<Levels> = Mutex::new(Levels { configured: String::new(), temporary: None });

pub fn validate_filter(level: &str) -> Result<(), LogFilterError> {
    filter(level).map(drop)
}

/// The filter of this level for a subscriber, and what to call when it is in force.
pub(super) fn filter_layer(
    level: &str,
) -> Result<(reload::Layer<EnvFilter, Registry>, impl FnOnce() + use<>), LogFilterError> {
    let (layer, handle) = reload::Layer::new(filter(level)?);
    level.clone_into(&mut levels().configured);
    Ok((layer, || drop(FILTER.set(handle))))
}

/// Replaces `log.level`. What replaces it for a while stays in force until then. Has no effect before
/// [`init_logs`](super::init_logs).
pub fn set_log_level(level: &str) -> Result<(), LogFilterError> {
    let filter = filter(level)?;
    let mut levels = levels();
    level.clone_into(&mut levels.configured);
    if levels.temporary.is_none() {
        apply(filter);
    }
    Ok(())
}

/// Replaces `log.level` until this Unix second. It is up to the caller to [end](end_temporary_log_level) it then.
pub fn set_temporary_log_level(level: &str, until: u64) -> Result<(), LogFilterError> {
    let filter = filter(level)?;
    let mut levels = levels();
    levels.temporary = Some((level.to_owned(), until));
    apply(filter);
    Ok(())
}

/// Returns to `log.level`, unless what replaces it lasts longer than this Unix second. Returns whether anything has changed.
#[must_use]
pub fn end_temporary_log_level(now: u64) -> bool {
    let mut levels = levels();
    if levels.temporary.as_ref().is_none_or(|(_, until)| *until > now) {
        return false;
    }
    levels.temporary = None;
    // It has been checked before.
    if let Ok(filter) = filter(&levels.configured) {
        apply(filter);
    }
    true
}

/// The level that is in force.
#[must_use]
pub fn log_level() -> LogLevel {
    let levels = levels();
    match &levels.temporary {
        Some((level, until)) => LogLevel { level: level.clone(), until: Some(*until) },
        None => LogLevel { level: levels.configured.clone(), until: None },
    }
}

fn apply(filter: EnvFilter) {
    if let Some(handle) = FILTER.get() {
        // Fails only after the subscriber is gone.
        let _ = handle.reload(filter);
    }
}

fn levels() -> MutexGuard<'static, Levels> {
    LEVELS.lock().unwrap_or_else(PoisonError::into_inner)
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
