use std::io;

use redis::{ServerError, ServerErrorKind};
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
        let code = if is_acl_denial(error) { "NOPERM".to_owned() } else { error_code(error.code()) };
        Self::Refused(command, code)
    }

    /// Whether the ACL of Redis does not permit a command, a key or a channel.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused(_, code) if code == "NOPERM")
    }

    /// Whether Redis accepts no writes because it could not save its data. It then also refuses PING, but PUBLISH works.
    pub(super) fn is_misconfiguration(&self) -> bool {
        matches!(self, Self::Refused(_, code) if code == "MISCONF")
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

    /// Whether Redis answers, and refuses a command that its ACL permits, for a reason that does not pass by itself.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_, code) => {
                !matches!(&**code, "NOPERM" | "LOADING" | "BUSY" | "MASTERDOWN" | "NOSCRIPT")
            }
            Self::Unexpected(_) => true,
            _ => false,
        }
    }
}

/// Whether the ACL of Redis does not permit a command, a key or a channel.
pub(super) fn is_acl_denial(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::NoPerm) || error.details().is_some_and(reports_acl_denial)
}

/// Whether an error that a command had inside a script is a denial: there it has no code of its own.
pub(super) fn reports_acl_denial(message: &str) -> bool {
    // As a nested error, as Redis 6.2 and 7.0 say it, and as later versions and Valkey do.
    ["NOPERM", "The user executing the script can't", "ACL failure in script"]
        .iter()
        .any(|text| message.contains(text))
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

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    #[test]
    fn denials_are_known_in_the_words_of_each_version() {
        let error = |text: &str| match parse_redis_value(format!("-{text}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        };
        for denial in [
            "NOPERM this user has no permissions to run the 'get' command",
            "NOPERM User aoi has no permissions to run the 'get' command",
            "ERR Error running script (call to f_8a2f): @user_script:1: @user_script: 1: The user executing the script can't run \
             this command or subcommand",
            "ERR The user executing the script can't run this command or subcommand script: 8a2f, on @user_script:1.",
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: \
             8a2f, on @user_script:1.",
            "ERR ACL failure in script: User aoi has no permissions to run the 'get' command script: 8a2f, on @user_script:1.",
            "ERR ACL failure in script: No permissions to access a key script: 8a2f, on @user_script:1.",
        ] {
            let refused = ConnectionError::refused("EVALSHA", &error(denial));
            assert!(refused.is_denied(), "{denial}: {refused}");
        }
        for other in [
            "ERR unknown command 'GET'",
            "NOSCRIPT No matching script.",
            "OOM command not allowed when used memory",
        ] {
            let refused = ConnectionError::refused("EVALSHA", &error(other));
            assert!(!refused.is_denied(), "{other}: {refused}");
        }
    }
}
