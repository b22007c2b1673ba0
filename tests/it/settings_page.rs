//! Generates the tables of `docs/settings.md` from `config/default.toml`, and fails while they differ.
//!
//! `UPDATE_DOCS=1 cargo test --test it settings_page` writes the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use yamabiko::config::{AuthKeys, Environment, load, show};

const PAGE: &str = "docs/settings.md";

/// The settings of a kind of channel. The file shows them with the values of `chat`, not with their defaults.
const OF_KINDS: [(&str, &str, &str); 5] = [
    ("fields", "list of strings", "all keys"),
    ("targeting", "boolean", "`false`"),
    ("client_send", "boolean", "`true`"),
    ("history", "table", "none"),
    ("gate", "table", "none"),
];

/// The settings of kinds that have no default: the file shows an example of each in a comment.
const WITHOUT_DEFAULT: [&str; 2] = ["history", "gate"];

#[test]
fn the_page_is_what_default_toml_generates() {
    let generated = generated();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        // Renamed into place, because the other tests read the page meanwhile.
        let new = path("docs/settings.md.new");
        fs::write(&new, generated).unwrap();
        fs::rename(&new, path(PAGE)).unwrap();
        return;
    }
    assert!(
        read(PAGE) == generated,
        "{PAGE} is out of date. Run: UPDATE_DOCS=1 cargo test --test it settings_page"
    );
}

#[test]
fn the_page_lists_every_setting_with_its_default_and_its_variable() {
    let config = load(None, &Environment::default(), AuthKeys::Optional).unwrap();
    let mut settings = BTreeMap::new();
    let mut section = String::new();
    for line in show(&config).lines() {
        if let Some(header) = line.strip_prefix('[') {
            header.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((name, rest)) = line.split_once(" = ") {
            let default = rest.rsplit_once("  # ").unwrap().0;
            if section.starts_with("channels.") {
                settings.insert(format!("channels.KIND.{name}"), None);
            } else {
                let table = if section.is_empty() { String::new() } else { format!("{section}.") };
                settings.insert(format!("{table}{name}"), Some(format!("`{default}`")));
            }
        }
    }
    settings.extend(WITHOUT_DEFAULT.map(|name| (format!("channels.KIND.{name}"), None)));
    assert!(settings.len() > 25, "{settings:?}");

    let page = generated();
    let rows: BTreeMap<String, Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("`YAMABIKO__"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
        .map(|row| (row[0].split('`').nth(1).unwrap().to_owned(), row))
        .collect();
    let listed: BTreeSet<&String> = rows.keys().collect();
    assert_eq!(listed, settings.keys().collect());
    for (setting, default) in &settings {
        let row = &rows[setting];
        let variable = format!("`YAMABIKO__{}`", setting.replace('.', "__").to_uppercase());
        assert!(row[0].contains(&variable), "{row:?}");
        if let Some(default) = default {
            assert_eq!(row[2], default, "{setting}");
        }
        assert!(row[3].ends_with('.'), "{setting} has no description");
    }
}

#[test]
fn the_page_lists_every_other_name() {
    let page = generated();
    let composed = read("src/config/redis_url.rs");
    let composed: BTreeSet<&str> =
        composed.split("read(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(composed.contains("REDIS_HOST"), "{composed:?}");
    let of_apps = read("src/config/pusher_app.rs");
    let of_apps: Vec<&str> =
        of_apps.split('"').filter(|word| word.contains("_APP_") && !word.contains(' ')).collect();
    assert_eq!(of_apps.len(), 6, "{of_apps:?}");
    for name in composed.iter().chain(&of_apps) {
        assert!(page.contains(&format!("`{name}`")), "{PAGE} does not name {name}");
    }
}

/// The page as it should be: its own prose, and the tables between its markers.
fn generated() -> String {
    let page = with_block(&read(PAGE), "settings", &settings_tables(&sections()));
    with_block(&page, "names", &alias_table(&aliases()))
}

/// A table of `config/default.toml`.
struct Section {
    /// Empty for the keys above the first table.
    name: String,
    description: String,
    settings: Vec<Setting>,
}

/// A part of a section with a heading of its own.
struct SectionPart<'a> {
    name: &'a str,
    description: &'a str,
    settings: &'a [Setting],
}

struct Setting {
    name: String,
    /// The default, as TOML.
    default: String,
    description: String,
}

impl Setting {
    fn kind(&self) -> &'static str {
        match self.default.as_bytes() {
            _ if self.description.contains("[[") => "list of tables",
            [b'[', ..] => "list of strings",
            [b'{', ..] => "table of strings",
            default if default.contains(&b'.') && default.iter().all(|c| b"0123456789.".contains(c)) => {
                "number"
            }
            [b't' | b'f', ..] => "boolean",
            [b'"', b'0'..=b'9', .., b's' | b'm' | b'h', b'"'] => "duration",
            [b'"', ..] => "string",
            _ => "integer",
        }
    }
}

/// Reads `config/default.toml`. The comment directly above a key or a table is its description; an example in it, which
/// is indented, is not.
fn sections() -> Vec<Section> {
    let mut sections =
        vec![Section { name: String::new(), description: String::new(), settings: Vec::new() }];
    let mut comment = Vec::new();
    for line in read("config/default.toml").lines() {
        let is_example =
            |line: &&str| WITHOUT_DEFAULT.iter().any(|name| line.starts_with(&format!("{name} = ")));
        let line = line.strip_prefix("# ").filter(is_example).unwrap_or(line);
        if let Some(text) = line.strip_prefix('#') {
            if !text.starts_with("   ") && !text.is_empty() {
                comment.push(text.trim().to_owned());
            }
        } else if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']').to_owned();
            sections.push(Section { name, description: comment.join(" "), settings: Vec::new() });
            comment.clear();
        } else if let Some((name, default)) = line.split_once(" = ") {
            sections.last_mut().unwrap().settings.push(Setting {
                name: name.to_owned(),
                default: default.to_owned(),
                description: comment.join(" "),
            });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    sections
}

fn settings_tables(sections: &[Section]) -> String {
    let aliases = aliases();
    let mut links = Vec::new();
    let mut text = String::new();
    for section in sections.iter().flat_map(split) {
        // The kinds after the first repeat its keys.
        let (title, table) = match section.name.strip_prefix("channels.") {
            Some("chat") => ("[channels.KIND]".to_owned(), "channels.KIND.".to_owned()),
            Some(_) => continue,
            None if section.name.is_empty() => (format!("[[{}]]", section.settings[0].name), String::new()),
            None => (format!("[{}]", section.name), format!("{}.", section.name)),
        };
        let anchor: String = title.chars().filter(|c| c.is_alphanumeric()).collect();
        links.push(format!("[`{title}`](#{})", anchor.to_lowercase()));
        let _ = writeln!(text, "\n### {title}\n");
        if !section.description.is_empty() {
            let _ = writeln!(text, "{}\n", section.description);
        }
        text += "| Setting and environment variable | Type | Default | Description |\n|---|---|---|---|\n";
        for setting in section.settings {
            let key = format!("{table}{}", setting.name);
            let variable = format!("YAMABIKO__{}", key.replace('.', "__").to_uppercase());
            let default = format!("`{}`", setting.default);
            let (kind, default) = OF_KINDS
                .iter()
                .find(|(name, ..)| table == "channels.KIND." && *name == setting.name)
                .map_or((setting.kind(), &*default), |(_, kind, default)| (*kind, *default));
            let mut description = setting.description.clone();
            let names: Vec<String> = aliases
                .iter()
                .filter(|(_, target)| *target == key)
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            if !names.is_empty() {
                let _ = write!(description, " Other names: {}.", names.join(", "));
            }
            let _ = writeln!(text, "| `{key}`<br>`{variable}` | {kind} | {default} | {description} |");
        }
    }
    format!("\n{}\n{text}", links.join(" ·\n"))
}

/// The lists of tables above the first table are sections of their own.
fn split(section: &Section) -> Vec<SectionPart<'_>> {
    let Section { name, description, settings } = section;
    let part = |settings| SectionPart { name, description, settings };
    if name.is_empty() { settings.chunks(1).map(part).collect() } else { vec![part(&settings[..])] }
}

/// The variables of existing `.env` files with their settings, the first ones winning.
fn aliases() -> Vec<(String, String)> {
    // In the source a line reads: ("APP_WS_HOST", "server", "host"),
    let aliases: Vec<(String, String)> = read("src/config/aliases.rs")
        .lines()
        .filter(|line| line.trim_start().starts_with("(\""))
        .map(|line| {
            let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            (words[0].to_owned(), format!("{}.{}", words[1], words[2]))
        })
        .collect();
    assert!(aliases.len() >= 7, "{aliases:?}");
    aliases
}

fn alias_table(aliases: &[(String, String)]) -> String {
    let mut text = "\n| Variable | Setting |\n|---|---|\n".to_owned();
    for (name, setting) in aliases {
        let _ = writeln!(text, "| `{name}` | `{setting}` |");
    }
    text
}

/// Puts `text` between the markers of the block `name`.
fn with_block(page: &str, name: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- generated: {name} -->\n"), format!("\n<!-- end: {name} -->"));
    let (before, rest) = page.split_once(&start).unwrap_or_else(|| panic!("{PAGE} has no {start:?}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} has no {end:?}"));
    format!("{before}{start}{text}{end}{after}")
}

fn path(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
