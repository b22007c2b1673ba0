//! Workflows and shell scripts.

use std::env::{join_paths, split_paths, var_os};
use std::iter::once;
use std::path::PathBuf;

use super::{command, output, tool};

#[test]
fn the_workflows_have_no_mistakes() {
    // It finds shellcheck in the path.
    let linter = tool("actionlint");
    let folder = linter.parent().unwrap().to_owned();
    let path: Vec<PathBuf> = once(folder).chain(split_paths(&var_os("PATH").unwrap_or_default())).collect();
    let files = [".github/workflows/ci.yml", ".github/workflows/release.yml"];
    output(command(linter, &files).env("PATH", join_paths(path).unwrap()));
}

#[test]
fn the_shell_scripts_have_no_mistakes() {
    let scripts = [
        "scripts/test",
        "scripts/package",
        "deploy/debian/postinst",
        "deploy/debian/prerm",
        "deploy/debian/postrm",
    ];
    output(&mut command(tool("shellcheck"), &scripts));
}
