use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Command;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write yamabiko.1, and a page for each command
    folder: PathBuf,
}

/// `command` is the whole command line.
pub(super) fn run(args: &Args, command: Command) -> Result<(), Failure> {
    let folder = args.folder.display();
    fs::create_dir_all(&args.folder).with_context(|| format!("cannot create {folder}"))?;
    clap_mangen::generate_to(command, &args.folder).with_context(|| format!("cannot write to {folder}"))?;
    Ok(())
}
