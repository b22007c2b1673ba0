//! The real binary on the command line: what it prints, what it refuses, and with which exit code.

mod check;
mod commands;
mod settings;
mod top;
mod usage;

use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use yamabiko::auth::{Authenticator, Identity};
use yamabiko::config::{AuthKeys, load};

/// The binary with these variables and no others.
fn yamabiko(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yamabiko"));
    command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "LLVM_PROFILE_FILE"));
    command.envs(variables.iter().copied()).args(arguments).stdin(Stdio::null());
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    ran(yamabiko(arguments, variables).output().unwrap())
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn identity(token: &str, variables: &[(&str, &str)]) -> Identity {
    let config = load(None, &variables.iter().copied().collect(), AuthKeys::Required).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Authenticator::new(&config.settings.server.auth).unwrap().verify(token, now).unwrap()
}
