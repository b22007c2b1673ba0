use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use super::{Format, Settings};

/// `log.level` is not a filter.
#[derive(Debug, Error)]
#[error("is neither a level (error, warn, info, debug, trace) nor a filter: {0}")]
pub struct InvalidFilter(#[from] tracing_subscriber::filter::ParseError);

/// Checks `log.level` without using it.
pub fn validate_filter(level: &str) -> Result<(), InvalidFilter> {
    EnvFilter::builder().parse(level)?;
    Ok(())
}

/// Starts writing logs to standard error. Once a process: a later call changes nothing.
pub fn init_logs(settings: &Settings) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::builder().parse(&settings.level)?;
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match settings.format {
        Format::Text => base.try_init_boxed(),
        Format::Json => base.json().flatten_event(true).with_current_span(false).try_init_boxed(),
    };
    Ok(())
}

trait TryInit {
    fn try_init_boxed(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl<N, E, F, W> TryInit for tracing_subscriber::fmt::SubscriberBuilder<N, E, F, W>
where
    tracing_subscriber::fmt::SubscriberBuilder<N, E, F, W>: Into<tracing::Dispatch>,
{
    fn try_init_boxed(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        tracing::dispatcher::set_global_default(self.into()).map_err(Into::into)
    }
}
