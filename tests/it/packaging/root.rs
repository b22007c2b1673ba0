use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{command, output};

/// A file system with what every Debian system has: the essential packages of this machine and what they need, in their original state
/// as far as no other package has configured them.
pub(super) struct Root(TempDir);

impl Root {
    pub(super) fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        // A package names its files as if /usr were not merged.
        for name in ["bin", "sbin", "lib", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                fs::create_dir_all(root.0.path().join(&target)).unwrap();
                symlink(target, root.path(name)).unwrap();
            }
        }
        let packages = essential_packages();
        root.copy(&files_of(&packages));
        root.copy_database(&packages);
        // There is no privilege to make devices. What is read from these files is enough.
        fs::create_dir_all(root.path("dev")).unwrap();
        fs::write(root.path("dev/null"), "").unwrap();
        fs::write(root.path("dev/urandom"), "0123456789abcdef0123456789abcdef-and-more").unwrap();
        root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name.trim_start_matches('/'))
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The permissions of a file.
    pub(super) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode()
            & 0o7777
    }

    /// A command inside, as root.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command("chroot", &[]);
        if !rustix::process::geteuid().is_root() {
            command = super::command("unshare", &["--map-root-user", "chroot"]);
        }
        command.arg(self.0.path()).args(arguments).stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> String {
        output(&mut self.command(arguments))
    }

    /// All files, without those that dpkg and ldconfig keep for themselves.
    pub(super) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path.clone());
                }
                let name = path.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned();
                if !["var/lib/dpkg/", "var/log/"].iter().any(|own| name.starts_with(own)) {
                    found.insert(name);
                }
            }
        }
        found
    }

    fn copy(&self, files: &BTreeSet<String>) {
        let list = self.path("files");
        fs::write(
            &list,
            files.iter().map(|name| name.trim_start_matches('/')).collect::<Vec<_>>().join("\n"),
        )
        .unwrap();
        // Files that this machine does without, such as documentation in containers, are not missed.
        let copy = "tar -C / --no-recursion --ignore-failed-read -cf - -T \"$0\" 2>/dev/null | \
                    tar -C \"$1\" --keep-directory-symlink -xf -";
        output(command("sh", &["-c", copy]).arg(&list).arg(self.0.path()));
        fs::remove_file(list).unwrap();
    }

    /// The database of dpkg, with these packages.
    fn copy_database(&self, packages: &BTreeSet<String>) {
        let database = self.path("var/lib/dpkg");
        for folder in ["info", "updates", "triggers", "alternatives"] {
            fs::create_dir_all(database.join(folder)).unwrap();
        }
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        fs::write(database.join("status"), output(command("dpkg-query", &["--status"]).args(&names)))
            .unwrap();
        for entry in fs::read_dir("/var/lib/dpkg/info").unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let is_copied = names.iter().any(|package| {
                let rest = name.strip_prefix(package).and_then(|rest| rest.strip_suffix(".list"));
                rest.is_some_and(|architecture| architecture.is_empty() || architecture.starts_with(':'))
            });
            if is_copied || name == "format" {
                fs::copy(entry.path(), database.join("info").join(name)).unwrap();
            }
        }
    }
}

/// The names of the essential packages and of all that they depend on.
fn essential_packages() -> BTreeSet<String> {
    const FORMAT: &str =
        "${db:Status-Abbrev}\t${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n";
    let list = output(&mut command("dpkg-query", &["--show", "--showformat", FORMAT]));
    let mut depends: BTreeMap<&str, &str> = BTreeMap::new();
    let mut providers: BTreeMap<String, &str> = BTreeMap::new();
    let mut open: Vec<&str> = Vec::new();
    for line in list.lines().filter(|line| line.starts_with("ii")) {
        let [_, package, essential, needed, virtual_names] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        depends.insert(package, needed);
        providers.extend(names(virtual_names).into_iter().map(|name| (name, package)));
        if essential == "yes" {
            open.push(package);
        }
    }
    let mut found = BTreeSet::new();
    while let Some(package) = open.pop() {
        if found.insert(package.to_owned()) {
            for name in names(depends[package]) {
                let known = depends.get_key_value(name.as_str()).map(|(name, _)| *name);
                open.extend(known.or_else(|| providers.get(&name).copied()));
            }
        }
    }
    found
}

/// The names in a list of packages, of all alternatives.
fn names(list: &str) -> Vec<String> {
    let name = |entry: &str| entry.split_whitespace().next()?.split(':').next().map(str::to_owned);
    list.split([',', '|']).filter_map(name).collect()
}

/// The files of packages, without what only people read.
fn files_of(packages: &BTreeSet<String>) -> BTreeSet<String> {
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let list = output(command("dpkg-query", &["--listfiles"]).args(names));
    let is_read = |name: &str| {
        [
            "/usr/share/doc/",
            "/usr/share/man/",
            "/usr/share/locale/",
            "/usr/share/info/",
            "/usr/share/zoneinfo/",
        ]
        .iter()
        .any(|folder| name.starts_with(folder))
    };
    let mut files: BTreeSet<String> = list
        .lines()
        .filter(|name| name.starts_with('/') && *name != "/." && !is_read(name))
        .map(str::to_owned)
        .collect();
    // What maintainer scripts make.
    files.extend(["/etc/passwd", "/etc/group", "/usr/bin/awk", "/etc/alternatives/awk"].map(str::to_owned));
    files
}
