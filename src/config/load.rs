use std::fmt;
use std::path::Path;

use config::{Config as Layers, ConfigError, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::layer::Layer;
use super::schema::{Schema, Tables, defaults};
use super::validator::{Validator, to_json};
use super::{Environment, Key, Problem, Problems, Settings, checks, environment, file};

/// The effective settings and their origins.
#[derive(Debug, Clone)]
pub struct Config {
    pub settings: Settings,
    /// Each setting, in the order of `config/default.toml`.
    pub entries: Vec<SettingEntry>,
    /// Problems that do not prevent the start, such as short secrets and settings without effect.
    pub warnings: Vec<Problem>,
}

#[derive(Clone)]
pub struct SettingEntry {
    pub key: Key,
    /// The value, including secrets.
    pub(super) value: Json,
    /// The file or variable that set it; `None` for the default.
    pub origin: Option<String>,
}

// The value may be a secret.
impl fmt::Debug for SettingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingEntry")
            .field("key", &self.key)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The file or variable that set a setting; `None` for the default.
    #[must_use]
    pub fn origin(&self, key: &Key) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key == *key)?.origin.as_deref()
    }
}

/// Whether the settings must have a key for tokens or an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKeys {
    /// Without them no client could connect.
    Required,
    /// The command generates one or needs none.
    Optional,
}

/// Loads the settings from the defaults, the file and the environment. The error lists all problems.
pub fn load(file: Option<&Path>, environment: &Environment, keys: AuthKeys) -> Result<Config, Problems> {
    let broken = |error: ConfigError| {
        Problems(vec![Problem::new("config/default.toml", None, format!("is invalid: {error}"))])
    };
    let schema = Schema::read().map_err(broken)?;
    let default_tables = defaults().collect().map_err(broken)?;
    let default_json = to_object(&default_tables);
    let validator = Validator { schema: &schema, defaults: &default_json };

    let mut problems = Vec::new();
    let from_file = file.map(|path| file::read(path, &validator, &mut problems)).unwrap_or_default();
    let kinds: Vec<_> = default_json
        .get("channels")
        .and_then(Json::as_object)
        .into_iter()
        .flat_map(|kinds| kinds.keys().map(String::as_str))
        .chain(from_file.kinds())
        .map(str::to_owned)
        .collect();
    let from_environment = environment::read(environment, &kinds, &validator, &mut problems);
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
    // Invalid apps are not in the settings, but they are not missing either.
    let keys = if problems.iter().any(is_about_apps) { AuthKeys::Optional } else { keys };
    problems.extend(checks::run(&mut config, keys));
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// Warns if the environment replaces the file's apps: an array is replaced as a whole, which is easily overlooked when
/// Laravel's `.env` file defines an app.
fn replaced_apps(from_file: &Layer, from_environment: &Layer) -> Vec<Problem> {
    let apps = Key::top("apps");
    let (Some(file), Some(variables)) = (from_file.get(&apps), from_environment.get(&apps)) else {
        return Vec::new();
    };
    if matches!(&file.kind, ValueKind::Array(apps) if apps.is_empty()) {
        return Vec::new();
    }
    let message = format!(
        "the apps of {} are ignored: the environment overrides them",
        file.origin().unwrap_or_default()
    );
    vec![Problem::new(&apps, variables.origin(), message)]
}

fn is_about_apps(problem: &Problem) -> bool {
    ["apps", "PUSHER_APP_", "REVERB_APP_"].iter().any(|start| problem.key.starts_with(start))
}

fn to_object(tables: &Tables) -> serde_json::Map<String, Json> {
    tables.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
}

/// Where a value comes from. Of a table, the layers keep only where its settings come from.
fn origin(value: &Value) -> Option<&str> {
    let of_settings = || match &value.kind {
        ValueKind::Table(table) => table.values().find_map(Value::origin),
        _ => None,
    };
    value.origin().or_else(of_settings)
}

fn entries(tables: Tables) -> Vec<SettingEntry> {
    let mut entries = Vec::new();
    let mut push = |key: Key, value: &Value| {
        entries.push(SettingEntry { key, value: to_json(value), origin: origin(value).map(str::to_owned) });
    };
    for (section, value) in tables {
        let ValueKind::Table(table) = value.kind else {
            push(Key::top(&section), &value);
            continue;
        };
        for (name, value) in table {
            match &value.kind {
                ValueKind::Table(rules) if section == "channels" => {
                    rules.iter().for_each(|(rule, value)| push(Key::of_channel(&name, rule), value));
                }
                _ => push(Key::new(&section, &name), &value),
            }
        }
    }
    entries
}
