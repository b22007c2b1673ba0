use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::{configuration, dev, listen, publish, token};
use crate::config::{self, AuthKeys, Config, Environment, Problems};

const EXAMPLES: &str = "\
Examples:
  yamabiko dev                                  try it: a console in the browser, nothing to set up
  yamabiko --env-file .env                      serve, with the settings of a Laravel application
  APP_WS_JWT_SECRET=… yamabiko                  serve, with the secret that Laravel signs with
  yamabiko --config /etc/yamabiko.toml serve
  yamabiko token --id 7 --name Aoi --channel chat:default
  yamabiko config show                          what is in force, and which file or variable says so

Exit codes: 0 done, 1 failed, 2 wrong usage or settings.";

const SERVING: &str = "\
Settings come from the file given with --config, from that given with --env-file and from the environment; `yamabiko config show` prints them all.
The log goes to standard error. On SIGTERM or Ctrl-C everybody is sent away, spread over server.shutdown_grace; a
second signal ends it at once.";

/// Carries live messages between a Laravel application and its browsers.
#[derive(Debug, Parser)]
#[command(name = "yamabiko", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// A TOML file with settings; the environment wins over it
    #[arg(long, global = true, value_name = "FILE", env = "YAMABIKO_CONFIG")]
    config: Option<PathBuf>,

    /// A .env file, read as Laravel reads it; the variables of the process win over it
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve until SIGTERM or Ctrl-C; what happens without a command
    #[command(after_help = SERVING)]
    Serve,
    /// Serve on this machine only, with a console, a throw-away secret and a ready-made token
    Dev(dev::Args),
    /// Print a token, signed with the secret in force
    Token(token::Args),
    /// Publish a message as Laravel does, or through a running server
    Publish(publish::Args),
    /// Print what is said on a channel, one message a line
    Listen(listen::Args),
    /// Load-test a server: latency, losses and order of its deliveries
    Bench(Box<loadgen::Options>),
    /// Check the settings, or show them
    Config(configuration::Args),
    /// Ask the server of this machine whether it is well, for a container's health check
    Healthcheck,
}

impl Arguments {
    pub(super) fn settings(&self, keys: AuthKeys) -> Result<Config, Problems> {
        // An empty YAMABIKO_CONFIG counts as unset, like every other variable.
        let file = self.config.as_deref().filter(|path| *path != Path::new(""));
        let mut environment = Environment::of_process();
        if let Some(path) = &self.env_file {
            environment = environment.with_file(path)?;
        }
        config::load(file, &environment, keys)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
