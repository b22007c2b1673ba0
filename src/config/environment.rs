//! Settings from environment variables.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::aliases::aliases;
use super::file::with_origin;
use super::layer::Layer;
use super::schema::{Schema, SettingType, nearest};
use super::validator::Validator;
use super::{Key, Problem, Problems, env_file, pusher_app, redis_url};

const PREFIX: &str = "YAMABIKO__";

/// The variables of a process and of a `.env` file. As in Laravel, an empty value or `null` counts as unset.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    /// The names of the file's variables, and the file's name.
    file: Option<(BTreeSet<String>, String)>,
}

// The values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// Adds the variables of a `.env` file. As in Laravel, variables that are already set win.
    pub fn with_file(mut self, path: &Path) -> Result<Self, Problems> {
        let shown = path.display().to_string();
        let problem = |message: String| Problems(vec![Problem::new(&*shown, None, message)]);
        let text =
            std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
        let known = |name: &str| self.get(name).map(str::to_owned);
        let variables = env_file::parse(&text, known)
            .map_err(|(line, error)| problem(format!("line {line}: {error}")))?;
        let mut names = BTreeSet::new();
        for (name, value) in variables {
            if let Entry::Vacant(place) = self.variables.entry(name) {
                names.insert(place.key().clone());
                place.insert(value.into());
            }
        }
        self.file = Some((names, shown));
        Ok(self)
    }

    /// A variable's raw value; `None` if it is unset or not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str()
    }

    /// The value of a variable. A value that is not UTF-8 is a problem.
    pub(super) fn text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let value = self.variables.get(name).filter(|value| !is_unset(value))?;
        if let Some(text) = value.to_str() {
            return Some(text.to_owned());
        }
        problems.push(Problem::new(name, None, "is not UTF-8"));
        None
    }

    /// The value as a string, by the rules of Laravel's `env()`: `true` is 1, `false` is unset, and quotation marks are removed.
    pub(super) fn laravel_text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let text = self.text(name, problems)?;
        match &*text.to_ascii_lowercase() {
            "true" | "(true)" => return Some("1".to_owned()),
            "false" | "(false)" => return None,
            _ => {}
        }
        let unquoted = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
        let text = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(&text);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The names of the variables that are set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|(_, value)| !is_unset(value)).map(|(name, _)| name.as_str())
    }

    /// Describes the origin of variables.
    pub(super) fn origin(&self, names: &[&str]) -> String {
        let of_file = |name: &&str| self.file.as_ref().is_some_and(|(of_file, _)| of_file.contains(*name));
        let file = self.file.as_ref().map(|(_, file)| file.as_str()).unwrap_or_default();
        if names.iter().all(of_file) {
            return format!("{} in {file}", names.join(", "));
        }
        let each = |name: &&str| if of_file(name) { format!("{name} in {file}") } else { (*name).to_owned() };
        names.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, file: None }
    }
}

/// Whether Laravel's `env()` returns null or an empty string for the value.
fn is_unset(value: &OsString) -> bool {
    ["", "null", "(null)", "empty", "(empty)"].iter().any(|unset| value.eq_ignore_ascii_case(unset))
}

/// Reads the environment into a layer. `kinds` are the kinds of channels in lower layers.
pub(super) fn read(
    environment: &Environment,
    kinds: &[String],
    validator: &Validator<'_>,
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut reader =
        EnvironmentReader { environment, validator, layer: Layer::default(), problems, taken: Vec::new() };
    for name in environment.names() {
        if let Some(path) = name.strip_prefix(PREFIX) {
            match key(path, kinds) {
                Some(key) if validator.schema.type_of(&key).is_some() => {
                    let text = environment.text(name, reader.problems);
                    reader.take(name, key, text);
                }
                _ => reader.unknown(name),
            }
        }
    }
    for (name, key) in aliases() {
        if !reader.taken.contains(&key) {
            let mut text = environment.laravel_text(name, reader.problems);
            if key == Key::new("redis", "url") {
                text = text.map(redis_url::from_laravel);
            }
            reader.take(name, key, text);
        }
    }
    let url = Key::new("redis", "url");
    if !reader.taken.contains(&url)
        && let Some((text, variables)) = redis_url::compose(environment, reader.problems)
    {
        let origin = environment.origin(&variables);
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

/// Warns about variables with a single underscore, such as `YAMABIKO_SERVER_PORT`, which would be ignored silently. Not an
/// error, because Kubernetes creates variables such as `YAMABIKO_SERVICE_PORT`.
pub(super) fn near_misses(environment: &Environment, schema: &Schema) -> Vec<Problem> {
    let single = |name: &str| name.to_ascii_uppercase().replace("__", "_");
    let ours: Vec<_> = schema.keys().map(variable).collect();
    let misses = environment.names().filter(|name| !name.starts_with(PREFIX)).filter_map(|name| {
        let meant = ours.iter().find(|ours| single(ours) == single(name))?;
        Some(Problem::new(name, None, format!("is ignored; did you mean {meant}, with two underscores?")))
    });
    misses.collect()
}

struct EnvironmentReader<'a> {
    environment: &'a Environment,
    validator: &'a Validator<'a>,
    layer: Layer,
    problems: &'a mut Vec<Problem>,
    /// The settings already set by a variable of higher precedence.
    taken: Vec<Key>,
}

impl EnvironmentReader<'_> {
    fn take(&mut self, name: &str, key: Key, text: Option<String>) {
        let (Some(kind), Some(text)) = (self.validator.schema.type_of(&key), text) else { return };
        self.taken.push(key.clone());
        let origin = self.environment.origin(&[name]);
        match parse(kind, &text) {
            Ok(value) => self.put(key, with_origin(value, &origin)),
            Err(expected) => {
                let instead = if key.is_secret() { String::new() } else { format!(", not {text:?}") };
                self.problems.push(Problem::new(key, Some(&origin), format!("must be {expected}{instead}")));
            }
        }
    }

    fn put(&mut self, key: Key, value: Value) {
        self.layer.put(key, value, self.validator, self.problems);
    }

    fn unknown(&mut self, name: &str) {
        let names: Vec<_> = self.validator.schema.keys().map(variable).collect();
        let meant = nearest(name, names.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        self.problems.push(Problem::new(name, None, format!("unknown setting{meant}")));
    }
}

/// `SERVER__PORT` is `server.port`, `CHANNELS__CHAT__FIELDS` is `channels.chat.fields`.
fn key(path: &str, kinds: &[String]) -> Option<Key> {
    let path = path.to_ascii_lowercase();
    match path.split("__").collect::<Vec<_>>().as_slice() {
        [name] => Some(Key::top(name)),
        [section, name] if !section.is_empty() && *section != "channels" => Some(Key::new(section, name)),
        ["channels", kind, name] if !kind.is_empty() => {
            // Variable names have neither case nor hyphens, so match them with the known kinds.
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

fn parse(kind: SettingType, text: &str) -> Result<ValueKind, String> {
    match kind {
        SettingType::Text => Ok(ValueKind::from(text)),
        SettingType::Integer => {
            text.trim().parse::<i64>().map(ValueKind::from).map_err(|_| "a whole number".to_owned())
        }
        SettingType::Number => {
            let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.map(ValueKind::from).ok_or_else(|| "a number".to_owned())
        }
        SettingType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(ValueKind::from(true)),
            "false" | "0" | "no" | "off" => Ok(ValueKind::from(false)),
            _ => Err("true or false".to_owned()),
        },
        SettingType::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(ValueKind::from(items.map(str::to_owned).collect::<Vec<_>>()))
        }
        SettingType::Tables(array) => {
            toml(text).ok_or_else(|| format!("a TOML array such as {}", array.example()))
        }
        SettingType::Table(table) => {
            toml(text).ok_or_else(|| format!("a TOML table such as {}", table.example()))
        }
        SettingType::Texts => {
            toml(text).ok_or_else(|| r#"a TOML table such as { name = "value" }"#.to_owned())
        }
    }
}

fn toml(text: &str) -> Option<ValueKind> {
    let mut tables = File::from_str(&format!("value = {text}"), FileFormat::Toml).collect().ok()?;
    tables.swap_remove("value").map(|value| value.kind)
}
