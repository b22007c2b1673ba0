//! What a release consists of: the Debian package, the chart, the workflows and their scripts.

mod chart;
mod deb;
mod root;
mod workflows;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A tool that `scripts/test` has installed.
fn tool(name: &str) -> PathBuf {
    let path = project().join("target/tools/deploy/bin").join(name);
    assert!(path.exists(), "{} is missing: scripts/test rust installs it", path.display());
    path
}

fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project());
    command
}

/// Its standard output. It must succeed.
fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}:\n{stdout}\n{stderr}");
    stdout.into_owned()
}
