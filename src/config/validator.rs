use config::{Value, ValueKind};
use serde_json::Value as Json;

use super::schema::{Schema, SettingType};
use super::{Key, Problem, Settings};

/// Validates each value on its own, within otherwise default settings, so that every problem is found with its origin.
pub(super) struct Validator<'a> {
    pub(super) schema: &'a Schema,
    pub(super) defaults: &'a serde_json::Map<String, Json>,
}

impl Validator<'_> {
    /// Checks a value at `at` as one of the setting `key`, which is not an array of tables.
    pub(super) fn check(
        &self,
        at: &str,
        key: &Key,
        kind: SettingType,
        json: &Json,
        origin: Option<&str>,
    ) -> Vec<Problem> {
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

    fn wrong_type(&self, key: &Key, kind: SettingType, json: &Json) -> Option<String> {
        let expected = wrong_type(kind, json)?;
        let example = (kind == SettingType::Text).then(|| self.schema.example(key)).flatten();
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

/// The expected type, if the value has another one.
pub(super) fn wrong_type(kind: SettingType, json: &Json) -> Option<&'static str> {
    match (kind, json) {
        (SettingType::Boolean, Json::Bool(_))
        | (SettingType::Text, Json::String(_))
        | (SettingType::Number, Json::Number(_)) => None,
        (SettingType::Integer, Json::Number(number)) if !number.is_f64() => None,
        (SettingType::List, Json::Array(items)) if items.iter().all(Json::is_string) => None,
        (SettingType::Texts, Json::Object(table)) if table.values().all(Json::is_string) => None,
        (SettingType::Boolean, _) => Some("true or false"),
        (SettingType::Integer, _) => Some("a whole number"),
        (SettingType::Number, _) => Some("a number"),
        (SettingType::List, _) => Some("a list of strings"),
        (SettingType::Texts, _) => Some("a table of strings, such as { name = \"value\" }"),
        (SettingType::Text, _) => Some("a string"),
        (SettingType::Table(_), _) => Some("a table"),
        (SettingType::Tables(_), _) => Some("a list of tables"),
    }
}

/// Rewrites the deserializer's message for people.
pub(super) fn reason(json: &Json, error: &str) -> String {
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
        ("expected usize", "of at least 0"),
        ("expected u64", "of at least 0"),
    ] {
        if error.ends_with(rust) {
            return format!("must be a whole number {range}, not {shown}");
        }
    }
    if error.starts_with("must ") {
        return format!("{error}, not {shown}");
    }
    format!("{shown} is invalid: {error}")
}

fn shown(json: &Json) -> String {
    match json {
        Json::Object(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Converts a value for serde's deserializer, which is strict where that of `config` converts types.
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
