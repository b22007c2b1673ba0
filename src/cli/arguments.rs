use clap::{Parser, Subcommand};

use super::settings_source::SettingsSource;
use super::{check, completions, dev, listen, manual, publish, token, top};

const EXAMPLES: &str = "\
Examples:
  yamabiko dev                                  try it: a console in the browser, no settings needed
  yamabiko --env-file .env                      serve with the settings of a Laravel application
  APP_WS_JWT_SECRET=… yamabiko                  serve with the secret that Laravel signs with
  yamabiko --config /etc/yamabiko.toml serve
  yamabiko token --id 7 --name Aoi --channel chat:default
  yamabiko config show                          every setting, and the file or variable that set it
  yamabiko top                                  what the running nodes do

Exit codes: 0 done, 1 failed, 2 wrong usage or settings. `check` has those of monitoring systems.";

const SERVING: &str = "\
Settings are read from the files given with --config and --env-file and from the environment. `yamabiko config show`
prints them all. On SIGHUP, the files are read again. The log is written to standard error. On SIGTERM or Ctrl-C,
connections are closed gradually within server.shutdown_grace; a second signal exits immediately.";

/// Carries live messages between a Laravel application and its browsers.
#[derive(Debug, Parser)]
#[command(name = "yamabiko", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) source: SettingsSource,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default command)
    #[command(after_help = SERVING)]
    Serve,
    /// Serve on this machine for development, with a console, a temporary secret and a ready-made token
    Dev(dev::Args),
    /// Print a token signed with auth.secret
    Token(token::Args),
    /// Publish a message through Redis, as Laravel does, or through a running server
    Publish(publish::Args),
    /// Print the messages on a channel, one per line
    Listen(listen::Args),
    /// Load-test a server: latency, losses and order of its deliveries
    Bench(Box<loadgen::Options>),
    /// Check or show the settings
    Config(super::config::Args),
    /// Check the health of the server on this machine, for container health checks
    Healthcheck,
    /// Check a server for a monitoring system: broker, connections, certificates
    Check(check::Args),
    /// Watch nodes, connections, rates, and the busiest channels and users
    Top(top::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
    /// Write the manual pages, for packages
    #[command(hide = true)]
    Manual(manual::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
