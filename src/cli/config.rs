use clap::Subcommand;

use super::{Failure, output};
use crate::config::{self, AuthKeys, Config, Problems};

const EXAMPLES: &str = "\
Examples:
  yamabiko config                               same as `yamabiko config show`
  yamabiko --config new.toml config check       before a restart: exit code 2 and a list of all problems, if any
  yamabiko config show | grep -v '# default'    only settings that differ from their defaults";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check whether `serve` would start with these settings
    Check,
    /// Print every setting with the file or variable that set it; secrets are hidden
    Show,
}

pub(super) fn run(args: &Args, load: impl Fn(AuthKeys) -> Result<Config, Problems>) -> Result<(), Failure> {
    match args.action {
        Some(Action::Check) => {
            let config = load(AuthKeys::Required)?;
            for warning in &config.warnings {
                output::eprint(&format!("warning: {warning}"));
            }
            output::line("The settings are valid.")
        }
        None | Some(Action::Show) => output::line(config::show(&load(AuthKeys::Optional)?).trim_end()),
    }
}
