//! Checks the walks of `ARCHITECTURE.md` against the code.
//!
//! A walk is a numbered list under a heading. Each step names a file and the item by which the walk enters it:
//!
//! ```text
//! 3. [`hub/mod.rs`](src/hub/mod.rs) `Hub::publish`: finds the shards that have a subscriber
//! 4. [`hub/shard.rs`](src/hub/shard.rs) ← `Command::Deliver`: takes up to 1,024 commands
//! ```
//!
//! A plain item is called: the file defines it, and the code of an earlier step names it. An item after `←` is taken from a
//! queue: the file and an earlier step both name it. The test therefore finds a step that the code no longer takes, or that it
//! takes through another file.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::architecture::{without_comments, without_tests};

/// The heading of each walk, and how many files it may pass.
const WALKS: [(&str, usize); 4] =
    [("A native message", 20), ("A presence join", 25), ("A Pusher event", 25), ("Laravel's `PUBLISH`", 20)];

#[test]
fn the_walks_of_architecture_md_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let read = |file: &str| fs::read_to_string(root.join(file)).ok();
    let problems: Vec<String> =
        WALKS.iter().flat_map(|(heading, most)| problems(&document, heading, *most, &read)).collect();
    assert!(problems.is_empty(), "ARCHITECTURE.md:\n{}", problems.join("\n"));
}

/// The problems of the walk under this heading.
fn problems(
    document: &str,
    heading: &str,
    most: usize,
    read: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let steps = match steps(document, heading) {
        Ok(steps) => steps,
        Err(problem) => return vec![format!("{heading}: {problem}")],
    };
    let mut problems = Vec::new();
    let mut earlier: Vec<String> = Vec::new();
    for step in &steps {
        let Some(text) = read(&step.file).filter(|_| step.file.starts_with("src/")) else {
            problems.push(format!("{heading}, {}: no such file", step.file));
            continue;
        };
        let code = without_comments(without_tests(&text));
        let there = if step.queued { step.item.is_named_in(&code) } else { step.item.is_defined_in(&code) };
        if !there {
            let verb = if step.queued { "name" } else { "define" };
            problems.push(format!("{heading}, {}: does not {verb} `{}`", step.file, step.item.path));
        }
        if !earlier.is_empty() && !earlier.iter().any(|code| step.item.is_named_in(code)) {
            problems.push(format!("{heading}, {}: no earlier step names `{}`", step.file, step.item.path));
        }
        earlier.push(code);
    }
    let files: BTreeSet<&str> = steps.iter().map(|step| step.file.as_str()).collect();
    if files.len() > most {
        problems.push(format!("{heading}: passes {} files, which is more than {most}", files.len()));
    }
    problems
}

struct Step {
    /// Relative to the repository.
    file: String,
    item: Item,
    queued: bool,
}

/// A function or a type, or one of a type's functions or variants.
struct Item {
    path: String,
}

impl Item {
    fn owner(&self) -> Option<&str> {
        self.path.rsplit_once("::").map(|(owner, _)| owner)
    }

    fn name(&self) -> &str {
        self.path.rsplit_once("::").map_or(&self.path, |(_, name)| name)
    }

    fn is_defined_in(&self, code: &str) -> bool {
        let defines = |name: &str| {
            ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"]
                .iter()
                .any(|kind| words(code, &format!("{kind} {name}")).next().is_some())
        };
        defines(self.name()) && self.owner().is_none_or(|owner| words(code, owner).next().is_some())
    }

    /// Whether code calls the function, or names the type or the variant. Of a method it has to name the type as well, or
    /// else hold a value that is called as the type is: `hub` for `Hub`.
    fn is_named_in(&self, code: &str) -> bool {
        let Some(owner) = self.owner() else { return words(code, self.name()).next().is_some() };
        if words(code, &self.path).next().is_some() {
            return true;
        }
        let called = words(code, self.name()).any(|at| {
            let (before, after) = (&code[..at], &code[at + self.name().len()..]);
            (before.ends_with('.') || before.ends_with("::")) && after.trim_start().starts_with(['(', ':'])
        });
        called && [owner.to_owned(), snake_case(owner)].iter().any(|name| words(code, name).next().is_some())
    }
}

/// Where a text occurs as whole words.
fn words<'a>(code: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(text).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (code[..*at].chars().next_back(), code[*at + text.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The numbered list under a heading.
fn steps(document: &str, heading: &str) -> Result<Vec<Step>, String> {
    let is_heading = |line: &&str| line.starts_with('#');
    let mut lines = document
        .lines()
        .skip_while(|line| !is_heading(line) || line.trim_start_matches('#').trim() != heading);
    lines.next().ok_or("no such heading")?;
    let mut steps = Vec::new();
    for line in lines.take_while(|line| !is_heading(line)) {
        let Some((number, rest)) = line.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok())
        else {
            continue;
        };
        if number != (steps.len() + 1).to_string() {
            return Err(format!("step {number} follows step {}", steps.len()));
        }
        steps.push(step(rest).ok_or_else(|| format!("step {number} is not [`file`](src/file) `item`"))?);
    }
    if steps.len() < 2 { Err("no numbered list".to_owned()) } else { Ok(steps) }
}

/// [`file`](src/file) `item`, or with `←` before the item.
fn step(text: &str) -> Option<Step> {
    let (label, rest) = text.strip_prefix("[`")?.split_once("`](")?;
    let (file, rest) = rest.split_once(") ")?;
    let item = rest.strip_prefix("← ");
    let path = item.unwrap_or(rest).strip_prefix('`')?.split_once('`')?.0;
    let step = Step { file: file.to_owned(), item: Item { path: path.to_owned() }, queued: item.is_some() };
    (file.strip_prefix("src/")? == label).then_some(step)
}

const DOCUMENT: &str = "\
# A native message

1. [`a.rs`](src/a.rs) `start`: begins
2. [`b.rs`](src/b.rs) `Queue::push`: waits
3. [`c.rs`](src/c.rs) ← `Command::Go`: ends

## Another
";
const SOURCES: [(&str, &str); 3] = [
    ("src/a.rs", "fn start(queue: &Queue) { queue.push(1) }"),
    ("src/b.rs", "impl Queue { pub fn push(&self, n: u32) { self.inbox.send(Command::Go(n)) } }"),
    ("src/c.rs", "match command { Command::Go(n) => {} }"),
];

fn found(document: &str, change: (&str, &str), most: usize) -> Vec<String> {
    let read = |file: &str| {
        let (_, text) = SOURCES.iter().find(|(name, _)| *name == file)?;
        Some(if change.0 == file { change.1 } else { text }.to_owned())
    };
    problems(document, "A native message", most, &read)
}

#[test]
fn a_walk_that_the_code_takes_is_sound() {
    assert_eq!(found(DOCUMENT, ("", ""), 3), Vec::<String>::new());
}

#[test]
fn a_step_that_the_code_no_longer_takes_is_found() {
    for (file, text, problem) in [
        ("src/a.rs", "fn start(queue: &Queue) {}", "src/b.rs: no earlier step names `Queue::push`"),
        (
            "src/a.rs",
            "fn start(list: &List) { list.push(1) }",
            "src/b.rs: no earlier step names `Queue::push`",
        ),
        ("src/a.rs", "// queue.push(1)\nfn start() {}", "src/b.rs: no earlier step names `Queue::push`"),
        (
            "src/a.rs",
            "fn start() {}\n#[cfg(test)]\nmod tests { fn f() { queue.push(1) } }",
            "src/b.rs: no earlier step names `Queue::push`",
        ),
        (
            "src/b.rs",
            "impl Queue { fn append(&self) { Command::Go } }",
            "src/b.rs: does not define `Queue::push`",
        ),
        ("src/b.rs", "impl Queue { fn push(&self) {} }", "src/c.rs: no earlier step names `Command::Go`"),
        ("src/c.rs", "match command {}", "src/c.rs: does not name `Command::Go`"),
    ] {
        let problems = found(DOCUMENT, (file, text), 3);
        assert_eq!(problems, [format!("A native message, {problem}")], "{text}");
    }
}

#[test]
fn a_list_that_is_no_walk_is_found() {
    assert_eq!(found(DOCUMENT, ("", ""), 2).len(), 1);
    for (from, to) in [
        ("3. [", "4. ["),
        ("# A native message", "# Something else"),
        ("`a.rs`]", "`b.rs`]"),
        ("src/c.rs", "src/d.rs"),
        ("`start`: begins", "begins"),
    ] {
        assert!(!found(&DOCUMENT.replace(from, to), ("", ""), 3).is_empty(), "{to}");
    }
}
