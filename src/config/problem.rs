use std::fmt;

use thiserror::Error;

/// Something wrong with a setting, or worth knowing about it. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problem {
    /// The setting as `server.port`, or the name that was given where there is no such setting.
    pub key: String,
    /// Where its value comes from: a file, a variable of the environment. `None` for a default.
    pub origin: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: impl ToString, origin: Option<&str>, message: impl Into<String>) -> Self {
        Self { key: key.to_string(), origin: origin.map(str::to_owned), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.origin {
            Some(origin) if *origin != self.key => write!(f, " (from {origin})"),
            _ => Ok(()),
        }
    }
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} problems in the settings:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}
