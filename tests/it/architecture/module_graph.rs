//! Which file imports from which: an import leads to the file that defines the name, through any re-exports.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{source, source_files, without_comments, without_tests};

/// The path of a module from the crate's root, one segment each.
pub(super) type ModulePath = Vec<String>;

/// The relevant contents of a file.
pub(super) struct Module {
    /// The path of each `use`, and the name that it binds.
    uses: Vec<(Vec<String>, String)>,
    /// All other paths of two or more segments.
    paths: Vec<Vec<String>>,
}

pub(super) struct Tree {
    pub(super) modules: BTreeMap<ModulePath, Module>,
}

impl Module {
    pub(super) fn read(text: &str) -> Self {
        let mut code = without_comments(without_tests(&format!("\n{text}")));
        let mut uses = Vec::new();
        while let Some(start) = find_use(&code) {
            let end = code[start..].find(';').map_or(code.len(), |end| start + end);
            expand(&code[start + "use ".len()..end], &[], &mut uses);
            code.replace_range(start..end, "");
        }
        Self { uses, paths: inline_paths(&code) }
    }
}

impl Tree {
    /// The crate, without its unit tests.
    pub(super) fn of_crate() -> Self {
        let files = source_files().into_iter().filter(|file| !is_test(file) && file != Path::new("main.rs"));
        let modules = files.map(|file| {
            let text = fs::read_to_string(source().join(&file)).unwrap();
            (module_of(&file), Module::read(&text))
        });
        Self { modules: modules.collect() }
    }

    /// The module that defines what a path in this module names.
    fn defines(&self, module: &[String], path: &[String], depth: usize) -> Option<ModulePath> {
        // A re-export of a name by the same name, as `pub use b::b`, would be followed for ever.
        if depth > 10 {
            return None;
        }
        let (mut at, mut rest) = self.start(module, path)?;
        while let [first, others @ ..] = rest.as_slice() {
            let child: ModulePath = at.iter().chain([first]).cloned().collect();
            if !self.modules.contains_key(&child) {
                break;
            }
            (at, rest) = (child, others.to_vec());
        }
        // A path to a module names nothing in it yet.
        let (name, others) = rest.split_first()?;
        let file = self.modules.get(&at)?;
        let Some((target, _)) = file.uses.iter().find(|(target, bound)| bound == name && *target != rest)
        else {
            return Some(at);
        };
        // A re-export, of this name or of the module that the path goes on from.
        let target: Vec<String> = target.iter().chain(others).cloned().collect();
        Some(self.defines(&at, &target, depth + 1).unwrap_or(at))
    }

    /// Where a path begins: a module, and the segments after it.
    fn start(&self, module: &[String], path: &[String]) -> Option<(ModulePath, Vec<String>)> {
        self.anchor(module, path).or_else(|| {
            // A module that a `use` has bound.
            let (first, others) = path.split_first()?;
            let file = self.modules.get(module)?;
            let (target, _) = file.uses.iter().find(|(target, bound)| bound == first && target != path)?;
            let (mut at, rest) = self.anchor(module, target)?;
            at.extend(rest);
            self.modules.contains_key(&at).then(|| (at, others.to_vec()))
        })
    }

    /// The same for a path that begins with a keyword or a child.
    fn anchor(&self, module: &[String], path: &[String]) -> Option<(ModulePath, Vec<String>)> {
        let (first, others) = path.split_first()?;
        let mut at = module.to_vec();
        match first.as_str() {
            "crate" => return Some((Vec::new(), others.to_vec())),
            "self" | "super" => {
                let climbs = path.iter().take_while(|segment| matches!(segment.as_str(), "self" | "super"));
                let count = climbs.clone().count();
                for _ in climbs.filter(|segment| *segment == "super") {
                    at.pop()?;
                }
                return Some((at, path[count..].to_vec()));
            }
            _ => at.push(first.clone()),
        }
        self.modules.contains_key(&at).then(|| (at, others.to_vec()))
    }

    /// The files that a file imports from, and the paths by which it does.
    pub(super) fn imports(&self, module: &ModulePath) -> BTreeMap<ModulePath, BTreeSet<String>> {
        let file = &self.modules[module];
        let mut imports: BTreeMap<ModulePath, BTreeSet<String>> = BTreeMap::new();
        for path in file.uses.iter().map(|(path, _)| path).chain(&file.paths) {
            if let Some(defining) = self.defines(module, path, 0)
                && defining != *module
            {
                imports.entry(defining).or_default().insert(path.join("::"));
            }
        }
        imports
    }
}

/// Where a `use` statement begins.
fn find_use(code: &str) -> Option<usize> {
    code.match_indices("use ").map(|(at, _)| at).find(|at| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || c == ';' || c == '}' || c == '{')
    })
}

/// Takes a tree of imports such as `a::{self, b as c}` apart.
fn expand(tree: &str, prefix: &[String], uses: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, Some(group.trim_end().strip_suffix('}').unwrap_or(group))),
        None => (tree, None),
    };
    let (head, alias) = match head.split_once(" as ") {
        Some((head, alias)) => (head, Some(alias.trim())),
        None => (head, None),
    };
    let segments = head.split("::").map(str::trim).filter(|segment| !segment.is_empty()).map(str::to_owned);
    let mut path: Vec<String> = prefix.iter().cloned().chain(segments).collect();
    if let Some(group) = group {
        for branch in branches(group) {
            expand(branch, &path, uses);
        }
        return;
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let bound = alias.map(str::to_owned).or_else(|| path.last().cloned());
    uses.extend(bound.map(|bound| (path, bound)));
}

/// The items of a group, with inner groups kept whole.
fn branches(group: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&group[start..]);
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// Paths such as `super::names::is_public` that stand in the code itself.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains("::"))
        .map(|word| {
            word.split("::")
                .map(|segment| segment.trim_matches(':').to_owned())
                .filter(|s| !s.is_empty())
                .collect()
        })
        .collect()
}

fn module_of(file: &Path) -> ModulePath {
    let mut path: ModulePath =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

pub(super) fn path(text: &str) -> ModulePath {
    text.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.iter().any(|part| part == "tests")
}
