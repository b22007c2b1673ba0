use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

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
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write(&command, &args.folder).with_context(|| format!("cannot write to {folder}"))?;
    Ok(())
}

/// Writes the pages of a command and of those below it.
fn write(command: &Command, folder: &Path) -> std::io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write(command, folder)?;
    }
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(folder.join(man.get_filename()), keep_lines(&String::from_utf8_lossy(&page)))
}

/// Keeps the lines of examples and lists, which are indented, as they are: roff would fill and justify them.
fn keep_lines(page: &str) -> String {
    let mut kept = String::with_capacity(page.len());
    let mut is_indented = false;
    for line in page.lines() {
        if line.starts_with(' ') != is_indented {
            is_indented = !is_indented;
            kept.push_str(if is_indented { ".nf\n" } else { ".fi\n" });
        }
        // The section of what follows the options in the help.
        kept.push_str(if line == ".SH EXTRA" { ".SH NOTES" } else { line });
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_lines_are_not_filled() {
        let page =
            ".SH EXTRA\nExamples:\n  yamabiko top     the nodes\n  yamabiko check\n\nIt prints\na line.\n";
        let kept = ".SH NOTES\nExamples:\n.nf\n  yamabiko top     the nodes\n  yamabiko check\n.fi\n\nIt prints\na line.\n";
        assert_eq!(keep_lines(page), kept);
    }
}
