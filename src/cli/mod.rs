//! The command line. Each command is a file of its name.

mod arguments;
mod bench;
mod certificate;
mod check;
mod client;
mod completions;
mod config;
mod dev;
mod failure;
mod healthcheck;
mod http_client;
mod listen;
mod manual;
mod output;
mod publish;
mod rlimit;
mod sender_args;
mod serve;
mod settings_source;
mod signals;
mod token;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

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
            return match answer.exit_code() {
                0 => ExitCode::SUCCESS,
                _ if is_check() => ExitCode::from(check::USAGE),
                code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
            };
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

/// Whether the command is `check`, although its arguments are wrong.
fn is_check() -> bool {
    let matches = Arguments::command().ignore_errors(true).try_get_matches();
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
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
        Some(Command::Check(args)) => check::run(args, || Ok(load(AuthKeys::Optional)?)),
        Some(Command::Top(args)) => top::run(args, || Ok(load(AuthKeys::Optional)?)),
        Some(Command::Config(args)) => config::run(args, load),
        Some(Command::Completions(args)) => completions::run(args, Arguments::command()),
        Some(Command::Manual(args)) => manual::run(args, Arguments::command()),
    }
}
