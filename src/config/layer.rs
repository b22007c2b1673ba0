//! The validated settings of one source.

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::schema::SettingType;
use super::validator::{Validator, to_json};
use super::{Key, Problem, tables};

/// The values of one source, each with its origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Vec<(Key, Value)>,
}

impl Layer {
    /// Stores a valid value. Reports the problems of an invalid one.
    pub(super) fn put(
        &mut self,
        key: Key,
        value: Value,
        validator: &Validator<'_>,
        problems: &mut Vec<Problem>,
    ) {
        let found = problems_of(&key, &value, validator);
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

fn problems_of(key: &Key, value: &Value, validator: &Validator<'_>) -> Vec<Problem> {
    let (at, origin) = (key.to_string(), value.origin());
    match validator.schema.type_of(key) {
        Some(SettingType::Tables(array)) => tables::problems(array, &at, &to_json(value), origin, validator),
        Some(SettingType::Table(table)) => {
            tables::problems_of_table(table, &at, &to_json(value), origin, validator)
        }
        Some(kind) => validator.check(&at, key, kind, &to_json(value), origin),
        None => {
            let meant = validator.schema.nearest_key(key).map(|name| format!("; did you mean {name}?"));
            let message = format!("unknown setting{}", meant.unwrap_or_default());
            vec![Problem::new(at, origin, message)]
        }
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
        _ => unreachable!("the value was just replaced by a table"),
    }
}
