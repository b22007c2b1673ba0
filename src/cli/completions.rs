use clap::Command;
use clap_complete::{Shell, generate};

use super::{Failure, output};

const EXAMPLES: &str = "\
Packages install them. Otherwise:
  yamabiko completions bash > /etc/bash_completion.d/yamabiko
  yamabiko completions zsh  > \"${fpath[1]}/_yamabiko\"
  yamabiko completions fish > ~/.config/fish/completions/yamabiko.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    shell: Shell,
}

/// `command` is the whole command line.
pub(super) fn run(args: &Args, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "yamabiko", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
