//! Checks `src/` against `ARCHITECTURE.md`: which room may import which, that files do not import each other, and how long a
//! file may be.
mod circles;
mod module_graph;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A room and the rooms that it may import. `main` is the binary, which sees the crate from outside.
#[rustfmt::skip]
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["server", "config", "protocol", "auth", "message", "telemetry"]),
    ("config", &["server", "webhooks", "admin", "api", "console", "auth", "broker", "message", "protocol", "transport", "telemetry"]),
    ("server", &["endpoint", "admin", "api", "console", "tokens", "transport", "channels", "history", "webhooks", "protocol", "hub", "broker", "auth", "message", "telemetry"]),
    ("endpoint", &["transport", "channels", "history", "webhooks", "protocol", "hub", "broker", "auth", "message", "telemetry"]),
    ("api", &["tokens", "transport", "channels", "history", "protocol", "hub", "broker", "message", "telemetry"]),
    ("console", &["transport", "protocol", "broker", "auth", "message", "telemetry"]),
    ("admin", &["transport", "broker", "message", "telemetry"]),
    ("transport", &["hub", "message", "telemetry"]),
    ("channels", &["cluster", "presence", "history", "webhooks", "hub", "broker", "message", "telemetry"]),
    ("cluster", &["message"]),
    ("presence", &["message"]),
    ("history", &["message"]),
    ("tokens", &["protocol", "hub", "broker", "auth", "message", "telemetry"]),
    ("webhooks", &["protocol", "broker", "auth", "message", "telemetry"]),
    ("protocol", &["auth", "message"]),
    ("hub", &["message", "telemetry"]),
    ("broker", &["message", "telemetry"]),
    ("auth", &["message"]),
    ("telemetry", &[]),
    ("message", &[]),
    ("tls", &[]),
    ("unix_time", &[]),
    ("webhook_target", &[]),
    ("http_client", &[]),
    ("page_assets", &[]),
    ("trace_context", &[]),
];

/// Helpers without a subject of their own, which every room may import.
const HELPERS: &[&str] =
    &["http_client", "page_assets", "tls", "trace_context", "unix_time", "webhook_target"];

/// The longest a file may be without its tests. A file that passes it is asking to be two.
const MAX_LINES: usize = 400;

#[test]
fn rooms_import_only_along_the_arrows() {
    let mut broken = String::new();
    for file in source_files() {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            writeln!(broken, "{}: the room `{room}` has no arrows in this test", file.display()).unwrap();
            continue;
        };
        let text = fs::read_to_string(source().join(&file)).unwrap();
        for (line, import) in imports(&text, module_depth(&file)) {
            if import != room && is_room(&import) && !may_import(allowed, &import) {
                let may = if allowed.is_empty() { "no room".to_owned() } else { allowed.join(", ") };
                writeln!(
                    broken,
                    "src/{}:{line}: `{room}` imports `{import}`; it may import {may}",
                    file.display()
                )
                .unwrap();
            }
        }
    }
    assert!(broken.is_empty(), "imports against the arrows:\n{broken}");
}

#[test]
fn the_arrows_have_no_cycle() {
    let mut settled: Vec<&str> = Vec::new();
    while settled.len() < ARROWS.len() {
        let ready: Vec<&str> = ARROWS
            .iter()
            .filter(|(room, imports)| {
                !settled.contains(room) && imports.iter().all(|to| settled.contains(to))
            })
            .map(|(room, _)| *room)
            .collect();
        assert!(!ready.is_empty(), "a cycle among the rooms that are not in {settled:?}");
        settled.extend(ready);
    }
}

#[test]
fn every_room_has_arrows_and_every_arrow_a_room() {
    let rooms: BTreeSet<String> =
        source_files().iter().map(|file| room_of(file)).filter(|room| room != "lib").collect();
    let named: BTreeSet<String> = ARROWS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, named);
}

#[test]
fn source_files_stay_under_400_lines() {
    let mut long = String::new();
    let files =
        ["src", "crates"].map(|folder| rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)));
    for file in files.iter().flatten().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(file).unwrap();
        let lines = without_tests(&text).lines().count();
        if lines > MAX_LINES {
            writeln!(long, "{}: {lines} lines without its tests", file.display()).unwrap();
        }
    }
    assert!(long.is_empty(), "more than {MAX_LINES} lines; make it two files:\n{long}");
}

#[test]
fn every_spelling_of_an_import_is_seen() {
    let text = "\
//! crate::server is only mentioned here
use crate::hub;
use crate::hub::{Hub, Join};
use crate::{broker, message::{Event, Frame}};
pub(crate) use super::super::telemetry::Metrics;
use super::sibling;
use crate::{
    auth::Identity,
    admin as a,
};
fn f() -> crate::transport::Limits { todo!(\"// {}\", crate::config::load()) }
#[cfg(test)]
mod tests {
    use crate::cli;
}
";
    let found: Vec<(usize, String)> = imports(text, 2);
    let found: Vec<(usize, &str)> = found.iter().map(|(line, room)| (*line, room.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "hub"),
            (3, "hub"),
            (4, "broker"),
            (4, "message"),
            (5, "telemetry"),
            (8, "auth"),
            (9, "admin"),
            (11, "transport"),
            (11, "config"),
            (14, "cli"),
        ]
    );
}

/// The rooms that a file names by a path: the line, and the first segment after the crate's root. `depth` is how many
/// `super` lead from the file's module to the root. Tests obey the arrows too.
fn imports(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let climbed = "super::".repeat(depth);
    let mut found = Vec::new();
    for root in ["crate::", "yamabiko::", climbed.as_str()] {
        if root.is_empty() {
            continue;
        }
        for (at, _) in code.match_indices(root) {
            // `super::super::` inside a longer climb, or `crate::` at the end of another word.
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = at + root.len();
            for start in heads(&code, rest) {
                let name: String =
                    code[start..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !name.is_empty() {
                    found.push((code[..start].matches('\n').count() + 1, start, name));
                }
            }
        }
    }
    found.sort_by_key(|(_, start, _)| *start);
    found.into_iter().map(|(line, _, name)| (line, name)).collect()
}

/// Where the first segments after a root begin: one, or one for each branch of `{a, b::{c, d}}`.
fn heads(code: &str, rest: usize) -> Vec<usize> {
    if !code[rest..].starts_with('{') {
        return vec![rest];
    }
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut due = false;
    for (at, c) in code[rest..].char_indices() {
        match c {
            '{' => {
                depth += 1;
                due = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' if depth == 1 => due = true,
            c if due && !c.is_whitespace() => {
                heads.push(rest + at);
                due = false;
            }
            _ => {}
        }
    }
    heads
}

/// The text with `//` comments blanked, line numbers kept. A `//` inside a string only hides what follows in its line
/// where a URL would be (`://`), which is left alone.
pub(crate) fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let comment = line.match_indices("//").find(|(at, _)| {
            let before = &line[..*at];
            !before.ends_with(':') && before.matches('"').count() % 2 == 0
        });
        code.push_str(comment.map_or(line, |(at, _)| &line[..at]));
        code.push('\n');
    }
    code
}

/// The text before the unit tests, which house style puts last.
pub(crate) fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..end])
}

/// `hub` for `hub/mod.rs`, `hub/shard.rs` and `hub.rs`.
fn room_of(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// How deep the module of a file lies: 1 for `hub/mod.rs`, 2 for `hub/shard.rs`.
fn module_depth(file: &Path) -> usize {
    let depth = file.components().count();
    if file.ends_with("mod.rs") { depth - 1 } else { depth }
}

fn may_import(allowed: &[&str], room: &str) -> bool {
    allowed.contains(&room) || HELPERS.contains(&room)
}

fn is_room(name: &str) -> bool {
    ARROWS.iter().any(|(room, _)| *room == name)
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file, relative to `src`.
fn source_files() -> Vec<PathBuf> {
    let files = rust_files(&source());
    files.iter().map(|file| file.strip_prefix(source()).unwrap().to_owned()).collect()
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 10, "{} has too few files to be the real one: {files:?}", folder.display());
    files
}
