use std::fmt;

use thiserror::Error;

/// A problem with a setting. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problem {
    /// The setting, such as `server.port`, or the unknown name that was given.
    pub key: String,
    /// The file or variable that set it; `None` for the default.
    pub origin: Option<String>,
    /// What is wrong and how to fix it.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, origin: Option<&str>, message: impl Into<String>) -> Self {
        Self { key: key.into(), origin: origin.map(str::to_owned), message: message.into() }
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

/// All problems with the settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One problem a line.
    pub fn lines(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

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
