//! The command line. Each command is a file of its name.

mod arguments;
mod bench;
mod client;
mod config;
mod dev;
mod failure;
mod healthcheck;
mod listen;
mod output;
mod publish;
mod rlimit;
mod sender_args;
mod serve;
mod settings_source;
mod signals;
mod token;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};
use self::failure::Failure;
use crate::config::AuthKeys;

/// Runs the command given to this process. Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Includes `--help`. Fails if the reader is gone, as in `yamabiko --help | head -1`.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::eprint(&message);
            }
            failure.exit_code()
        }
    }
}

fn execute(arguments: &Arguments) -> Result<(), Failure> {
    let load = |keys| arguments.source.load(keys);
    match &arguments.command {
        None | Some(Command::Serve) => {
            serve::run_reloadable(load(AuthKeys::Required)?, arguments.source.clone())
        }
        Some(Command::Dev(args)) => dev::run(load(AuthKeys::Optional)?, args),
        Some(Command::Token(args)) => token::run(&load(AuthKeys::Optional)?, args),
        Some(Command::Publish(args)) => publish::run(&load(AuthKeys::Optional)?, args),
        Some(Command::Listen(args)) => listen::run(&load(AuthKeys::Optional)?, args),
        Some(Command::Bench(args)) => bench::run(&mut load(AuthKeys::Optional)?, args),
        Some(Command::Healthcheck) => healthcheck::run(&load(AuthKeys::Optional)?),
        Some(Command::Config(args)) => config::run(args, load),
    }
}
