//! The Debian package, installed with dpkg into a root of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::root::Root;
use super::{command, output, project};

const BINARY: &str = env!("CARGO_BIN_EXE_yamabiko");

fn build(folder: &Path, version: &str) -> PathBuf {
    let mut script = command(project().join("scripts/package"), &["deb", BINARY]);
    // Compressing a debug binary takes a while.
    script.arg(folder).env("DEB_VERSION", version).env("DEB_COMPRESSION", "none");
    PathBuf::from(output(&mut script).trim())
}

#[test]
fn the_package_is_installed_upgraded_and_purged() {
    let (root, packages) = (Root::new(), TempDir::new().unwrap());
    let before = root.files();
    let install = |version: &str| {
        let package = build(packages.path(), version);
        fs::rename(&package, root.path("package.deb")).unwrap();
        let report = root.run(&["dpkg", "--install", "package.deb"]);
        fs::remove_file(root.path("package.deb")).unwrap();
        report
    };

    install("0.1.0-1");
    assert_eq!(root.run(&["yamabiko", "--version"]), format!("yamabiko {}\n", env!("CARGO_PKG_VERSION")));
    for (name, mode) in [
        ("usr/bin/yamabiko", 0o755),
        ("lib/systemd/system/yamabiko.service", 0o644),
        ("etc/yamabiko/yamabiko.toml", 0o644),
        ("etc/yamabiko/environment", 0o600),
        ("usr/share/man/man1/yamabiko.1.gz", 0o644),
        ("usr/share/man/man1/yamabiko-top.1.gz", 0o644),
        ("usr/share/bash-completion/completions/yamabiko", 0o644),
        ("usr/share/zsh/vendor-completions/_yamabiko", 0o644),
        ("usr/share/fish/vendor_completions.d/yamabiko.fish", 0o644),
        ("usr/share/doc/yamabiko/copyright", 0o644),
        ("usr/share/doc/yamabiko/README.md", 0o644),
        ("usr/share/doc/yamabiko/docs/deploy.md", 0o644),
        ("usr/share/doc/yamabiko/deploy/yamabiko.rules.yml", 0o644),
        ("usr/share/doc/yamabiko/deploy/grafana.json", 0o644),
    ] {
        assert_eq!(root.mode(name), mode, "{name}");
    }
    // What is installed is what was packed.
    assert_eq!(root.run(&["dpkg", "--verify", "yamabiko"]), "");
    let is_enabled = "etc/systemd/system/multi-user.target.wants/yamabiko.service";
    assert!(root.files().contains(is_enabled), "it starts with the machine");

    // The generated secret and the settings of the package are enough to serve.
    let environment = root.read("etc/yamabiko/environment");
    let variables = variables(&environment);
    assert!(variables["YAMABIKO__AUTH__SECRET"].len() >= 43, "{environment}");
    let settings = root.read("etc/yamabiko/yamabiko.toml");
    let check = settings.lines().find_map(|line| line.strip_prefix("#   yamabiko")).unwrap();
    let check = check.split("    (").next().unwrap();
    assert!(check.ends_with("config check"), "{check}");
    let words: Vec<&str> = ["yamabiko"].into_iter().chain(check.split_whitespace()).collect();
    root.run(&words);

    // An upgrade keeps what the administrator has changed, and does not ask.
    let settings = format!("{}\n[limits]\nburst = 300\n", root.read("etc/yamabiko/yamabiko.toml"));
    fs::write(root.path("etc/yamabiko/yamabiko.toml"), &settings).unwrap();
    // As `systemctl disable` does.
    fs::remove_file(root.path(is_enabled)).unwrap();
    install("0.1.0-2");
    assert!(root.run(&["dpkg-query", "--show", "yamabiko"]).contains("0.1.0-2"));
    assert_eq!(root.read("etc/yamabiko/yamabiko.toml"), settings);
    assert_eq!(root.read("etc/yamabiko/environment"), environment);
    assert!(!root.files().contains(is_enabled), "it stays disabled");

    root.run(&["dpkg", "--remove", "yamabiko"]);
    assert_eq!(root.read("etc/yamabiko/yamabiko.toml"), settings, "removing keeps the settings");
    assert_eq!(root.read("etc/yamabiko/environment"), environment);
    assert!(!root.path("usr/bin/yamabiko").exists());
    root.run(&["dpkg", "--purge", "yamabiko"]);
    let after = root.files();
    let left: Vec<&String> = after.difference(&before).filter(|name| !is_of_systemd(name)).collect();
    assert_eq!(left, [""; 0], "purging leaves nothing");
}

#[test]
fn the_package_is_clean() {
    let packages = TempDir::new().unwrap();
    let package = build(packages.path(), "0.1.0-1");
    let package = package.to_str().unwrap();
    let suppressed = [
        // Whoever publishes the package names a maintainer.
        "bogus-mail-host",
        "bogus-mail-host-in-debian-changelog",
        "root-in-contact",
        // Only that of this test.
        "uses-no-compression-for-control-tarball",
        "uses-no-compression-for-data-tarball",
    ]
    .join(",");
    output(&mut command("lintian", &["--fail-on", "error", "--suppress-tags", &suppressed, package]));
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = TempDir::new().unwrap();
    let unit = fs::read_to_string(project().join("deploy/yamabiko.service")).unwrap();
    let path = folder.path().join("yamabiko.service");
    fs::write(&path, unit.replace("/usr/local/bin/yamabiko", BINARY)).unwrap();
    let report = command("systemd-analyze", &["verify", "--man=no"]).arg(&path).output().unwrap();
    let report = String::from_utf8_lossy(&report.stderr).into_owned();
    // It also names units of this machine.
    let about: Vec<&str> = report.lines().filter(|line| line.contains("yamabiko")).collect();
    assert_eq!(about, [""; 0], "{report}");
}

#[test]
fn the_archive_has_what_an_installation_by_hand_needs() {
    let folder = TempDir::new().unwrap();
    let archive = output(command(project().join("scripts/package"), &["tar", BINARY]).arg(folder.path()))
        .trim()
        .to_owned();
    let name = archive.rsplit('/').next().unwrap().strip_suffix(".tar.gz").unwrap().to_owned();
    assert!(name.starts_with(concat!("yamabiko-", env!("CARGO_PKG_VERSION"), "-linux-")), "{name}");
    let list = output(&mut command("tar", &["-tzf", &archive]));
    for file in [
        "yamabiko",
        "LICENSE",
        "README.md",
        "man/yamabiko.1",
        "completions/yamabiko.bash",
        "deploy/yamabiko.service",
    ] {
        assert!(list.lines().any(|line| line == format!("{name}/{file}")), "{file} is missing: {list}");
    }
}

/// The variables of an environment file.
fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Folders that deb-systemd-helper makes for all services and keeps.
fn is_of_systemd(name: &str) -> bool {
    ["etc/systemd", "var/lib/systemd", "lib/systemd"].iter().any(|own| {
        name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && !name.contains("yamabiko")
    })
}
