//! Settings from the file given with `--config`.

use std::path::Path;

use config::{ConfigError, File, FileFormat, Source, ValueKind};

use super::layer::Layer;
use super::schema::Tables;
use super::validator::Validator;
use super::{Key, Problem};

/// Reads the file into a layer.
pub(super) fn read(path: &Path, validator: &Validator<'_>, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    let origin = path.display().to_string();
    let tables = match tables(path, &origin) {
        Ok(tables) => tables,
        Err(message) => {
            problems.push(Problem::new(origin, None, message));
            return layer;
        }
    };
    for (section, value) in tables {
        let top = Key::top(&section);
        if validator.schema.type_of(&top).is_some() {
            layer.put(top, value, validator, problems);
            continue;
        }
        if !validator.schema.has_section(&section) {
            let meant =
                validator.schema.nearest_section(&section).map(|name| format!("; did you mean [{name}]?"));
            let message = format!("unknown section{}", meant.unwrap_or_default());
            problems.push(Problem::new(section, Some(&origin), message));
            continue;
        }
        let ValueKind::Table(table) = value.kind else {
            let message = format!("is a section; put its settings under [{section}]");
            problems.push(Problem::new(section, Some(&origin), message));
            continue;
        };
        for (name, value) in table {
            if section != "channels" {
                layer.put(Key::new(&section, &name), value, validator, problems);
                continue;
            }
            let ValueKind::Table(rules) = value.kind else {
                let message = format!("is a kind of channel; put its rules under [channels.{name}]");
                problems.push(Problem::new(format!("channels.{name}"), Some(&origin), message));
                continue;
            };
            for (rule, mut value) in rules {
                // `fields = "*"` is short for `["*"]`.
                if rule == "fields" && matches!(&value.kind, ValueKind::String(word) if word == "*") {
                    value.kind = ValueKind::Array(vec![with_origin(value.kind, &origin)]);
                }
                layer.put(Key::of_channel(&name, &rule), value, validator, problems);
            }
        }
    }
    layer
}

fn tables(path: &Path, origin: &str) -> Result<Tables, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let tables = File::from_str(&text, FileFormat::Toml).collect().map_err(|error| match error {
        ConfigError::FileParse { cause, .. } => without_excerpt(&cause.to_string()),
        other => other.to_string(),
    })?;
    Ok(tables.into_iter().map(|(name, value)| (name, with_origin(value.kind, origin))).collect())
}

/// A value whose parts have an origin, too.
pub(super) fn with_origin(kind: ValueKind, origin: &str) -> config::Value {
    let kind = match kind {
        ValueKind::Table(table) => ValueKind::Table(
            table.into_iter().map(|(name, value)| (name, with_origin(value.kind, origin))).collect(),
        ),
        ValueKind::Array(items) => {
            ValueKind::Array(items.into_iter().map(|value| with_origin(value.kind, origin)).collect())
        }
        other => other,
    };
    config::Value::new(Some(&origin.to_owned()), kind)
}

/// Removes the excerpt of the file from the parser's message: the line may contain a secret.
fn without_excerpt(error: &str) -> String {
    let is_excerpt = |line: &str| {
        let line = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        line.trim_start().starts_with('|')
    };
    let lines: Vec<_> = error.lines().filter(|line| !line.trim().is_empty() && !is_excerpt(line)).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_names_the_line_and_shows_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.toml");
        std::fs::write(&path, "[auth]\nsecret = \"hunter2\n").unwrap();
        let message = tables(&path, "bad.toml").unwrap_err();
        assert!(message.contains("line 2"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
