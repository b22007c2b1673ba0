use std::process::ExitCode;

use crate::auth::NoSigningKeyError;
use crate::config::Problems;

/// Why a command fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong usage or settings: exit code 2.
    Usage(String),
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 1. The log has the error.
    Logged,
    /// The command has printed its result. This is its exit code.
    Exit(u8),
    /// The reader of the output is gone, as after `| head`. Not an error.
    OutputClosed,
}

impl Failure {
    /// What to print, if anything.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::Usage(message) => Some(format!("error: {message}")),
            Self::Failed(error) => Some(format!("error: {error:#}")),
            Self::Logged | Self::Exit(_) | Self::OutputClosed => None,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Logged => ExitCode::FAILURE,
            Self::Exit(code) => ExitCode::from(*code),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

impl From<NoSigningKeyError> for Failure {
    fn from(error: NoSigningKeyError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
