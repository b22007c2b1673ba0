use std::io;

use redis::ServerError;
use thiserror::Error;

/// Why a connection could not be opened or is lost. One short line without secrets.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server does not speak the Redis protocol")]
    Malformed,
    #[error("a reply exceeds Redis's size limit")]
    TooLong,
    #[error("Redis closed the connection")]
    Closed,
    #[error("no answer to {0} in time")]
    TimedOut(&'static str),
    /// The command and the error code. The rest of Redis's message may quote what was sent.
    #[error("Redis refused {0}: {1}")]
    Refused(&'static str, String),
    /// The command, Redis's message, and the topics concerned.
    #[error("Redis refused {0}: {1} ({2})")]
    Denied(&'static str, String, String),
    #[error("this port answers without TLS: use redis:// or the port on which Redis speaks TLS")]
    ExpectsPlaintext,
    #[error("this port speaks TLS: use rediss://")]
    ExpectsTls,
    #[error("unexpected answer to {0}")]
    Unexpected(&'static str),
}

impl ConnectionError {
    /// Keeps only the code of Redis's error: its message may repeat the command's arguments.
    pub(super) fn refused(command: &'static str, error: &ServerError) -> Self {
        Self::Refused(command, error_code(error.code()))
    }

    /// Whether the other side ended the connection.
    pub(super) fn is_disconnect(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionReset),
            _ => false,
        }
    }

    /// Whether nothing listens at the address. A missing Unix socket is `NotFound`.
    pub(super) fn is_nothing_listening(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, Self::Io(error) if matches!(error.kind(), ConnectionRefused | NotFound))
    }
}

/// Reduces an error code to what a code looks like: a faulty server may send anything.
pub(super) fn error_code(code: &str) -> String {
    let is_plain = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
    code.chars().take(32).take_while(is_plain).collect()
}

/// Redis's whole error message on one line. Only for commands whose arguments may be logged.
pub(super) fn error_message(error: &ServerError) -> String {
    let message = [error.code(), error.details().unwrap_or_default()].join(" ");
    message.trim().chars().take(200).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
