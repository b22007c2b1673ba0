use thiserror::Error;

/// Why the application has not decided about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum GateFailure {
    #[error("no connection, or it was lost")]
    Unreachable,
    #[error("no answer in time")]
    Timeout,
    #[error("the status is {0}, not 200")]
    Status(u16),
    #[error("the answer is longer than a message may be")]
    TooLarge,
    #[error("the answer is not JSON with a valid decision")]
    InvalidAnswer,
    #[error("the new data is too large, or names an invalid target")]
    InvalidData,
    #[error("the last requests failed, so that none is made for a while")]
    CircuitOpen,
}

impl GateFailure {
    /// The label of the metric.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::InvalidAnswer => "invalid_answer",
            Self::InvalidData => "invalid_data",
            Self::CircuitOpen => "circuit_open",
        }
    }
}
