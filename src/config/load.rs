use std::fmt;
use std::path::Path;

use config::{Config as Layers, ConfigError, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::layer::{Layer, Trial, to_json};
use super::schema::{Schema, Tables, defaults};
use super::{Environment, Key, Problem, Problems, Settings, checks, environment, file};

/// The settings in force, and where each comes from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// Every single one, in the order of `config/default.toml`.
    pub entries: Vec<Entry>,
    /// What works but should be known: short secrets, settings and variables without effect.
    pub warnings: Vec<Problem>,
}

/// One setting in force.
#[derive(Clone)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its value, secrets included.
    pub(super) value: Json,
    /// The file or the variable that set it; `None`: it is the default.
    pub origin: Option<String>,
}

// The value may be a secret.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Config {
    /// Where a setting comes from: a file, a variable; `None` for a default.
    #[must_use]
    pub fn origin(&self, key: &Key) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key == *key)?.origin.as_deref()
    }
}

/// Whether the settings have to name a key to check tokens with, or an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKeys {
    /// The server does not start without: nobody could connect.
    Required,
    /// One will be made, or none is needed.
    Optional,
}

/// Gathers the settings from the defaults, the file and the environment. The error lists all that is wrong.
pub fn load(file: Option<&Path>, environment: &Environment, keys: AuthKeys) -> Result<Config, Problems> {
    let broken = |error: ConfigError| {
        Problems(vec![Problem::new("config/default.toml", None, format!("is broken: {error}"))])
    };
    let schema = Schema::read().map_err(broken)?;
    let default_tables = defaults().collect().map_err(broken)?;
    let default_json = to_object(&default_tables);
    let trial = Trial { schema: &schema, defaults: &default_json };

    let mut problems = Vec::new();
    let from_file = file.map(|path| file::read(path, &trial, &mut problems)).unwrap_or_default();
    let kinds: Vec<_> = default_json
        .get("channels")
        .and_then(Json::as_object)
        .into_iter()
        .flat_map(|kinds| kinds.keys().map(String::as_str))
        .chain(from_file.kinds())
        .map(str::to_owned)
        .collect();
    let from_environment = environment::read(environment, &kinds, &trial, &mut problems);
    let mut warnings = replaced_apps(&from_file, &from_environment);
    warnings.extend(environment::near_misses(environment, &schema));

    let layers = Layers::builder()
        .add_source(defaults())
        .add_source(from_file)
        .add_source(from_environment)
        .build()
        .map_err(broken)?;
    let ValueKind::Table(tables) = layers.cache.kind else { return Err(Problems(problems)) };
    let settings = Settings::deserialize(&to_object(&tables))
        .map_err(|error| broken(ConfigError::Foreign(error.into())))?;
    let entries = entries(tables);
    let mut config = Config { settings, entries, warnings };
    // An app that is wrong was left out, but it was not forgotten.
    let keys = if problems.iter().any(is_about_apps) { AuthKeys::Optional } else { keys };
    problems.extend(checks::run(&mut config, keys));
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// A list is replaced as a whole, which is easily overlooked where Laravel's `.env` file names an app.
fn replaced_apps(from_file: &Layer, from_environment: &Layer) -> Vec<Problem> {
    let apps = Key::top("apps");
    let (Some(file), Some(variables)) = (from_file.get(&apps), from_environment.get(&apps)) else {
        return Vec::new();
    };
    if matches!(&file.kind, ValueKind::Array(apps) if apps.is_empty()) {
        return Vec::new();
    }
    let message =
        format!("those of {} are not served: the environment wins", file.origin().unwrap_or_default());
    vec![Problem::new(&apps, variables.origin(), message)]
}

fn is_about_apps(problem: &Problem) -> bool {
    ["apps", "PUSHER_APP_", "REVERB_APP_"].iter().any(|start| problem.key.starts_with(start))
}

fn to_object(tables: &Tables) -> serde_json::Map<String, Json> {
    tables.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
}

fn entries(tables: Tables) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut push = |key: Key, value: &Value| {
        entries.push(Entry { key, value: to_json(value), origin: value.origin().map(str::to_owned) });
    };
    for (section, value) in tables {
        let ValueKind::Table(table) = value.kind else {
            push(Key::top(&section), &value);
            continue;
        };
        for (name, value) in table {
            match &value.kind {
                ValueKind::Table(rules) => {
                    rules.iter().for_each(|(rule, value)| push(Key::of_channel(&name, rule), value));
                }
                _ => push(Key::new(&section, &name), &value),
            }
        }
    }
    entries
}
