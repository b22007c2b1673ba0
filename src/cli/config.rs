use clap::Subcommand;

use super::arguments::Arguments;
use super::{Failure, output};
use crate::config::{self, AuthKeys};

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

pub(super) fn run(arguments: &Arguments, args: &Args) -> Result<(), Failure> {
    match args.action {
        Some(Action::Check) => {
            let config = arguments.settings(AuthKeys::Required)?;
            for warning in &config.warnings {
                output::eprint(&format!("warning: {warning}"));
            }
            output::line("The settings are valid.")
        }
        None | Some(Action::Show) => {
            let config = arguments.settings(AuthKeys::Optional)?;
            output::line(config::show(&config).trim_end())
        }
    }
}
