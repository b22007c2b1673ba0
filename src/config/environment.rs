//! The layer of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::aliases::aliases;
use super::layer::{Layer, Trial};
use super::schema::{Schema, Type, nearest};
use super::{Key, Problem, pusher_app, redis_url};

const PREFIX: &str = "YAMABIKO__";

/// The variables of a process. An empty one counts as one that is not set.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// The value of a variable. One that is not UTF-8 is a problem.
    pub(super) fn text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let value = self.0.get(name).filter(|value| !value.is_empty())?;
        if let Some(text) = value.to_str() {
            return Some(text.to_owned());
        }
        problems.push(Problem::new(name, None, "is not UTF-8"));
        None
    }

    /// The same, without what Laravel's `env()` takes for nothing.
    pub(super) fn laravel_text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let is_nothing =
            |text: &str| ["null", "(null)", "empty", "(empty)"].contains(&&*text.to_ascii_lowercase());
        self.text(name, problems).filter(|text| !is_nothing(text))
    }

    /// The names that are set to something.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Reads the environment into a layer. `kinds` are the kinds of channels that lower layers have.
pub(super) fn read(
    environment: &Environment,
    kinds: &[String],
    trial: &Trial<'_>,
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut reader = Reader { environment, trial, layer: Layer::default(), problems, taken: Vec::new() };
    for name in environment.names() {
        if let Some(path) = name.strip_prefix(PREFIX) {
            match key(path, kinds) {
                Some(key) if trial.schema.type_of(&key).is_some() => reader.take(name, key),
                _ => reader.unknown(name),
            }
        }
    }
    for (name, key) in aliases() {
        if environment.names().any(|set| set == name) && !reader.taken.contains(&key) {
            reader.take(name, key);
        }
    }
    let url = Key::new("redis", "url");
    if !reader.taken.contains(&url)
        && let Some((text, variables)) = redis_url::compose(environment, reader.problems)
    {
        let origin = variables.join(", ");
        reader.put(url, Value::new(Some(&origin), text));
    }
    let apps = Key::top("apps");
    if !reader.taken.contains(&apps)
        && let Some(app) = pusher_app::compose(environment, reader.problems)
    {
        reader.put(apps, app);
    }
    reader.layer
}

/// Names that are nearly ours. `YAMABIKO_SERVER_PORT` would otherwise be overlooked without a word, as names of others
/// are: Kubernetes makes some like `YAMABIKO_SERVICE_PORT`, so that this is no error.
pub(super) fn near_misses(environment: &Environment, schema: &Schema) -> Vec<Problem> {
    let single = |name: &str| name.to_ascii_uppercase().replace("__", "_");
    let ours: Vec<_> = schema.keys().map(variable).collect();
    let misses = environment.names().filter(|name| !name.starts_with(PREFIX)).filter_map(|name| {
        let meant = ours.iter().find(|ours| single(ours) == single(name))?;
        Some(Problem::new(name, None, format!("is not read; is {meant} meant, with two underscores?")))
    });
    misses.collect()
}

struct Reader<'a> {
    environment: &'a Environment,
    trial: &'a Trial<'a>,
    layer: Layer,
    problems: &'a mut Vec<Problem>,
    /// The keys that are set already: a name of less precedence does not set them again.
    taken: Vec<Key>,
}

impl Reader<'_> {
    fn take(&mut self, name: &str, key: Key) {
        let Some(kind) = self.trial.schema.type_of(&key) else { return };
        let Some(text) = self.environment.text(name, self.problems) else { return };
        self.taken.push(key.clone());
        match parse(kind, &text) {
            Ok(value) => self.put(key, Value::new(Some(&name.to_owned()), value)),
            Err(expected) => {
                let instead = if key.is_secret() { String::new() } else { format!(", not {text:?}") };
                self.problems.push(Problem::new(key, Some(name), format!("must be {expected}{instead}")));
            }
        }
    }

    fn put(&mut self, key: Key, value: Value) {
        self.layer.put(key, value, self.trial, self.problems);
    }

    fn unknown(&mut self, name: &str) {
        let names: Vec<_> = self.trial.schema.keys().map(variable).collect();
        let meant = nearest(name, names.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        self.problems.push(Problem::new(name, None, format!("there is no such setting{meant}")));
    }
}

/// `SERVER__PORT` is `server.port`, `CHANNELS__CHAT__FIELDS` is `channels.chat.fields`.
fn key(path: &str, kinds: &[String]) -> Option<Key> {
    let path = path.to_ascii_lowercase();
    match path.split("__").collect::<Vec<_>>().as_slice() {
        [name] => Some(Key::top(name)),
        [section, name] if !section.is_empty() && *section != "channels" => Some(Key::new(section, name)),
        ["channels", kind, name] if !kind.is_empty() => {
            // A variable's name has neither case nor hyphens: one that matches a known kind means that one.
            let known = kinds.iter().find(|known| known.to_ascii_lowercase().replace('-', "_") == *kind);
            Some(Key::of_channel(known.map_or(kind, String::as_str), name))
        }
        _ => None,
    }
}

fn variable(key: &Key) -> String {
    let gap = if key.section.is_empty() { "" } else { "__" };
    format!("{PREFIX}{}{gap}{}", key.section, key.name).to_ascii_uppercase()
}

fn parse(kind: Type, text: &str) -> Result<ValueKind, String> {
    match kind {
        Type::Text => Ok(ValueKind::from(text)),
        Type::Integer => {
            text.trim().parse::<i64>().map(ValueKind::from).map_err(|_| "a whole number".to_owned())
        }
        Type::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(ValueKind::from(true)),
            "false" | "0" | "no" | "off" => Ok(ValueKind::from(false)),
            _ => Err("true or false".to_owned()),
        },
        Type::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(ValueKind::from(items.map(str::to_owned).collect::<Vec<_>>()))
        }
        Type::Tables(repeated) => {
            toml(text).ok_or_else(|| format!("a TOML list such as {}", repeated.example()))
        }
        Type::Texts => toml(text).ok_or_else(|| r#"a TOML table such as { name = "value" }"#.to_owned()),
    }
}

fn toml(text: &str) -> Option<ValueKind> {
    let mut tables = File::from_str(&format!("value = {text}"), FileFormat::Toml).collect().ok()?;
    tables.swap_remove("value").map(|value| value.kind)
}
