//! No circles between the files of `src/`: a file never reaches itself by following imports.
//!
//! An import leads to the file that defines the name, through any re-exports. One import does not count: that of a name
//! which a `mod.rs` above the file defines itself. A parent declares what its children share and is built from its
//! children, so the two are one unit; circles among siblings, or between rooms, are what tangles the code. Unit tests may import
//! anything.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::module_graph::{Module, ModulePath, Tree, path};

#[test]
fn no_file_imports_itself_by_a_detour() {
    let circles = circles(&Tree::of_crate());
    assert!(circles.is_empty(), "files that import each other:\n{}", report(&circles));
}

/// `endpoint/native` and `endpoint/pusher` are rooms of their own, and so are the protocols.
#[test]
fn one_protocol_does_not_import_another() {
    let tree = Tree::of_crate();
    for module in tree.modules.keys() {
        let [room @ ("endpoint" | "protocol"), folder, ..] = &*segments(module) else { continue };
        for (other, names) in tree.imports(module) {
            let is_sibling = matches!(&*segments(&other), [its, to, ..] if its == room && to != folder);
            assert!(!is_sibling, "{} names {names:?}", module.join("::"));
        }
    }
}

#[test]
fn a_circle_is_found_through_re_exports_inline_paths_and_renames() {
    let tree = |files: &[(&str, &str)]| Tree {
        modules: files.iter().map(|(name, text)| (path(name), Module::read(text))).collect(),
    };
    let found = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        circles(&tree(files))
            .iter()
            .map(|circle| circle.keys().map(|file| file.join("::")).collect())
            .collect()
    };
    let lib = ("", "pub mod a; pub mod b;");
    let rooms = [lib, ("a", "mod x; pub use x::{self as y, X};"), ("b", "pub mod z;")];
    let with = |x: &'static str, z: &'static str| {
        let mut files = rooms.to_vec();
        files.extend([("a::x", x), ("b::z", z)]);
        found(&files)
    };
    let circle = [["a::x", "b::z"]];
    assert_eq!(with("use crate::b::z::Z; struct X;", "use crate::a::X; struct Z;"), circle);
    assert_eq!(with("use super::super::b::{z::{Q, Z}}; struct X;", "fn f(x: crate::a::X) {}"), circle);
    assert_eq!(with("use crate::b::z as other; fn f() { other::g() }", "use crate::a::y::X;"), circle);
    assert_eq!(with("use crate::b::z::Z; struct X;", "struct Z; // crate::a::X"), [[""; 0]; 0]);
    assert_eq!(with("use crate::b::z::Z;", "#[cfg(test)]\nmod tests { use crate::a::X; }"), [[""; 0]; 0]);
    // A child and what its parent defines are one unit; two children are not.
    assert_eq!(
        found(&[("a", "mod x; use x::X; struct A;"), ("a::x", "use super::A; struct X;")]),
        [[""; 0]; 0]
    );
    assert_eq!(
        found(&[("a", "mod x; mod y;"), ("a::x", "use super::y::Y;"), ("a::y", "use super::x::X;")]),
        [["a::x", "a::y"]]
    );
}

/// The files of a circle, and by which paths each names the others.
type Circle = BTreeMap<ModulePath, BTreeSet<String>>;

/// The groups of files that reach each other.
fn circles(tree: &Tree) -> Vec<Circle> {
    let imports: BTreeMap<&ModulePath, _> = tree
        .modules
        .keys()
        .map(|module| {
            let mut imports = tree.imports(module);
            imports.retain(|defining, _| !module.starts_with(defining));
            (module, imports)
        })
        .collect();
    let reached: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
        imports.keys().map(|module| (*module, reachable(&imports, module))).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (module, reachable) in &reached {
        if !reachable.contains(*module) || circles.iter().any(|circle| circle.contains_key(*module)) {
            continue;
        }
        let members = reachable.iter().filter(|other| reached[other].contains(*module));
        let names = |member: &ModulePath| -> BTreeSet<String> {
            let inside = imports[member].iter().filter(|(to, _)| reached[to].contains(*module));
            inside.flat_map(|(_, names)| names.iter().cloned()).collect()
        };
        circles.push(members.map(|member| (member.clone(), names(member))).collect());
    }
    circles
}

fn reachable(
    imports: &BTreeMap<&ModulePath, BTreeMap<ModulePath, BTreeSet<String>>>,
    from: &ModulePath,
) -> BTreeSet<ModulePath> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = open.pop() {
        for next in imports[&module].keys() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

fn segments(module: &ModulePath) -> Vec<&str> {
    module.iter().map(String::as_str).collect()
}

fn report(circles: &[Circle]) -> String {
    let mut text = String::new();
    for circle in circles {
        writeln!(text, "{} files:", circle.len()).unwrap();
        for (module, names) in circle {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(text, "  {} names {}", module.join("::"), names.join(", ")).unwrap();
        }
    }
    text
}
