use thiserror::Error;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The options contradict each other or the settings.
    #[error("{0}")]
    Usage(String),
    /// The run failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}
