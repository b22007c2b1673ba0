use std::io::IsTerminal;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use super::fields::TextFields;
use super::floods::Floods;
use super::panics::log_panics;
use super::{Format, Settings, writer};

/// `log.level` is not a filter.
#[derive(Debug, Error)]
pub enum InvalidFilter {
    /// It cannot be read.
    #[error("is neither a level (error, warn, info, debug, trace) nor a filter: {0}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
    /// A word that is no level. Taken for a part of the program, as filters do, it would silence all others.
    #[error("{0:?} is not a level: error, warn, info, debug, trace or off (of one part: {0}=debug)")]
    NoLevel(String),
}

/// What was left out is summed up so often.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);

static FLOODS: OnceLock<Floods> = OnceLock::new();

/// Checks `log.level` without using it.
pub fn validate_filter(level: &str) -> Result<(), InvalidFilter> {
    filter(level).map(drop)
}

/// Starts writing logs, and what panics say, to standard error, on a thread of its own. Once a process: a later call
/// changes nothing. The end of the process wants [`super::flush_logs`].
pub fn init_logs(settings: &Settings) -> Result<(), InvalidFilter> {
    let filter = filter(&settings.level)?;
    if FLOODS.get().is_some() {
        return Ok(());
    }
    let writer = writer::start(settings.format == Format::Json);
    let lines = fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.format {
        Format::Text => lines.fmt_fields(TextFields).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let floods = FLOODS.get_or_init(Floods::default);
    let subscriber = registry().with(filter).with(floods.clone()).with(lines);
    // Not `try_init`, which takes the `log` crate's records too: tungstenite writes the text of messages there.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        log_panics();
        // Without the thread it is summed up at the end.
        let _ = thread::Builder::new().name("logs".to_owned()).spawn(|| {
            let mut told = 0;
            loop {
                thread::sleep(SUM_UP_EVERY);
                floods.sum_up();
                tell_dropped(&mut told);
            }
        });
    }
    Ok(())
}

/// A field that is a number or a text. A text is quoted, so that it cannot be taken for another field.
#[must_use]
pub fn logged<'a>(field: Result<i64, &'a str>) -> Box<dyn tracing::Value + 'a> {
    match field {
        Ok(number) => Box::new(number),
        Err(text) => Box::new(text),
    }
}

/// Sums up the log lines that were left out and not told of yet. For the end of the process.
pub fn tell_what_was_left_out() {
    if let Some(floods) = FLOODS.get() {
        floods.sum_up();
    }
}

/// Says how many lines the reader has missed, as soon as it reads again.
fn tell_dropped(told: &mut u64) {
    let dropped = writer::dropped_lines();
    if dropped > *told {
        tracing::warn!(count = dropped - *told, "log lines dropped: standard error is read too slowly");
        // Dropped as well, it is told the next time.
        if writer::dropped_lines() == dropped {
            *told = dropped;
        }
    }
}

fn filter(level: &str) -> Result<EnvFilter, InvalidFilter> {
    let is_word = |part: &&str| part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let words = level.split(',').map(str::trim).filter(|part| !part.is_empty()).filter(is_word);
    if let Some(word) = words.into_iter().find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(InvalidFilter::NoLevel(word.to_owned()));
    }
    Ok(EnvFilter::builder().parse(level)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in ["info", "WARN", "off", "info,tower::util=debug", "yamabiko=trace, warn", "3"] {
            assert!(validate_filter(good).is_ok(), "{good}");
        }
        for wrong in ["warning", "verbose", "info,hyper", "a=b=c", "info,yamabiko=loud"] {
            assert!(validate_filter(wrong).is_err(), "{wrong}");
        }
        let said = validate_filter("info, warning").unwrap_err().to_string();
        assert!(said.starts_with("\"warning\" is not a level"), "{said}");
    }
}
