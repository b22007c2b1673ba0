use std::process::ExitCode;

use crate::auth::NoSigningKeyError;
use crate::config::Problems;

/// Why a command does not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// The usage or the settings are wrong.
    Usage(String),
    /// It was right to try, and it did not work.
    Failed(anyhow::Error),
    /// It did not work, and the log has said so.
    Told,
    /// Nobody reads the output any more, as after `| head`. No reason to complain.
    OutputClosed,
}

impl Failure {
    /// Says it on standard error, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                super::output::complain(&format!("error: {message}"));
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                super::output::complain(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
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
