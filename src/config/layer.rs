//! One source of settings, after each of its values has been checked on its own.

use config::{ConfigError, Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::schema::{Schema, Type};
use super::{Key, Problem, Settings, repeated};

/// The values of one source. Each knows where it comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Vec<(Key, Value)>,
}

impl Layer {
    /// Takes a value if the setting can have it, or else says why not.
    pub(super) fn put(&mut self, key: Key, value: Value, trial: &Trial<'_>, problems: &mut Vec<Problem>) {
        let found = trial.problems(&key, &value);
        if found.is_empty() {
            self.values.push((key, value));
        }
        problems.extend(found);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|(key, _)| key.kind.as_deref())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut sections = Map::new();
        for (key, value) in &self.values {
            if key.section.is_empty() {
                sections.insert(key.name.clone(), value.clone());
                continue;
            }
            let section = table(sections.entry(key.section.clone()).or_insert_with(empty_table));
            let table = match &key.kind {
                Some(kind) => table(section.entry(kind.clone()).or_insert_with(empty_table)),
                None => section,
            };
            table.insert(key.name.clone(), value.clone());
        }
        Ok(sections)
    }
}

fn empty_table() -> Value {
    Value::new(None, ValueKind::Table(Map::new()))
}

fn table(value: &mut Value) -> &mut Map<String, Value> {
    if !matches!(value.kind, ValueKind::Table(_)) {
        *value = empty_table();
    }
    match &mut value.kind {
        ValueKind::Table(table) => table,
        _ => unreachable!("it was just made a table"),
    }
}

/// Tries single values against the defaults: so each mistake is found, and found where it was made.
pub(super) struct Trial<'a> {
    pub(super) schema: &'a Schema,
    pub(super) defaults: &'a serde_json::Map<String, Json>,
}

impl Trial<'_> {
    fn problems(&self, key: &Key, value: &Value) -> Vec<Problem> {
        let origin = value.origin();
        let Some(kind) = self.schema.type_of(key) else {
            let meant = self.schema.nearest_key(key).map(|name| format!("; did you mean {name}?"));
            let message = format!("there is no such setting{}", meant.unwrap_or_default());
            return vec![Problem::new(key, origin, message)];
        };
        self.check(&key.to_string(), key, kind, &to_json(value), origin)
    }

    /// Checks a value as one of `key`, which stands at `at`.
    pub(super) fn check(
        &self,
        at: &str,
        key: &Key,
        kind: Type,
        json: &Json,
        origin: Option<&str>,
    ) -> Vec<Problem> {
        if let Type::Tables(repeated) = kind {
            return repeated::problems(repeated, at, json, origin, self);
        }
        if let Some(expected) = self.wrong_type(key, kind, json) {
            let instead = if key.is_secret() { String::new() } else { format!(", not {}", shown(json)) };
            return vec![Problem::new(at, origin, format!("must be {expected}{instead}"))];
        }
        match self.deserialize(key, json.clone()) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let reason = if key.is_secret() { String::new() } else { reason(json, &error.to_string()) };
                vec![Problem::new(at, origin, reason)]
            }
        }
    }

    fn wrong_type(&self, key: &Key, kind: Type, json: &Json) -> Option<String> {
        let expected = wrong_type(kind, json)?;
        let example = (kind == Type::Text).then(|| self.schema.example(key)).flatten();
        Some(match example {
            Some(example) => format!("{expected} such as {example:?}"),
            None => expected.to_owned(),
        })
    }

    fn deserialize(&self, key: &Key, json: Json) -> Result<Settings, serde_json::Error> {
        let mut sections = self.defaults.clone();
        if let Some(Json::Object(section)) = sections.get_mut(&key.section) {
            match &key.kind {
                Some(kind) => {
                    let mut table = serde_json::Map::new();
                    table.insert(key.name.clone(), json);
                    section.insert(kind.clone(), Json::Object(table));
                }
                None => {
                    section.insert(key.name.clone(), json);
                }
            }
        }
        Settings::deserialize(&sections)
    }
}

/// What it should have been, if it is something else.
pub(super) fn wrong_type(kind: Type, json: &Json) -> Option<&'static str> {
    match (kind, json) {
        (Type::Boolean, Json::Bool(_)) | (Type::Text, Json::String(_)) => None,
        (Type::Integer, Json::Number(number)) if !number.is_f64() => None,
        (Type::List, Json::Array(items)) if items.iter().all(Json::is_string) => None,
        (Type::Texts, Json::Object(table)) if table.values().all(Json::is_string) => None,
        (Type::Boolean, _) => Some("true or false"),
        (Type::Integer, _) => Some("a whole number"),
        (Type::List, _) => Some("a list of strings"),
        (Type::Texts, _) => Some("a table of strings, such as { name = \"value\" }"),
        (Type::Text, _) => Some("a string"),
        (Type::Tables(_), _) => Some("a list of tables"),
    }
}

/// Turns the deserializer's words into ours.
fn reason(json: &Json, error: &str) -> String {
    let shown = shown(json);
    if error.contains("a duration") {
        return format!("must be a duration such as \"10s\" or \"1m 30s\", not {shown}");
    }
    if error.contains("invalid socket address") {
        return format!("must be an IP address and a port such as \"127.0.0.1:8081\", not {shown}");
    }
    for (rust, range) in [
        ("expected u16", "from 0 to 65535"),
        ("expected u32", "from 0 to 4294967295"),
        ("expected usize", "from 0 upwards"),
        ("expected u64", "from 0 upwards"),
    ] {
        if error.ends_with(rust) {
            return format!("must be a whole number {range}, not {shown}");
        }
    }
    format!("{shown} will not do: {error}")
}

fn shown(json: &Json) -> String {
    match json {
        Json::Object(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// The same value for serde, whose own deserializer is strict where that of `config` converts.
pub(super) fn to_json(value: &Value) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => Json::from(*value),
        ValueKind::I64(value) => Json::from(*value),
        ValueKind::U64(value) => Json::from(*value),
        ValueKind::I128(value) => i64::try_from(*value).map_or(Json::Null, Json::from),
        ValueKind::U128(value) => u64::try_from(*value).map_or(Json::Null, Json::from),
        ValueKind::Float(value) => Json::from(*value),
        ValueKind::String(value) => Json::from(value.as_str()),
        ValueKind::Table(table) => {
            Json::Object(table.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        ValueKind::Array(items) => Json::Array(items.iter().map(to_json).collect()),
    }
}
