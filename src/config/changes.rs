//! What differs between two versions of the settings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::{Config, Key};

/// The names of the settings that differ. Those of apps are named one by one, `apps.ID.secret`, and an app that is new or gone is
/// `apps.ID`. `apps` itself differs if another app is the first one, which is the default.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Vec<String> {
    let value = |config: &Config, key: &Key| {
        config.entries.iter().find(|entry| entry.key == *key).map(|entry| entry.value.clone())
    };
    let mut changes = BTreeSet::new();
    for key in before.entries.iter().chain(&after.entries).map(|entry| &entry.key) {
        let (old, new) = (value(before, key), value(after, key));
        if old == new {
            continue;
        }
        match (*key == Key::top("apps"), &old, &new) {
            (true, Some(Json::Array(old)), Some(Json::Array(new))) => changes.extend(of_apps(old, new)),
            _ => {
                changes.insert(key.to_string());
            }
        }
    }
    changes.into_iter().collect()
}

fn of_apps(before: &[Json], after: &[Json]) -> Vec<String> {
    let (old, new) = (by_id(before), by_id(after));
    let first = |apps: &[Json]| apps.first().and_then(|app| app.get("id").cloned());
    let mut changes = Vec::new();
    if first(before) != first(after) {
        changes.push("apps".to_owned());
    }
    for id in old.keys().chain(new.keys()) {
        let nothing = Map::new();
        let (one, other) = match (old.get(id), new.get(id)) {
            (Some(old), Some(new)) => (*old, *new),
            (None, Some(new)) => {
                changes.push(format!("apps.{id}"));
                (&nothing, *new)
            }
            _ => {
                changes.push(format!("apps.{id}"));
                continue;
            }
        };
        let is_new = one.is_empty();
        let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        let differing = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
        // Of a new app, what may need a restart.
        let told = differing.filter(|name| !is_new || ["history", "webhooks"].contains(&name.as_str()));
        changes.extend(told.map(|name| format!("apps.{id}.{name}")));
    }
    changes
}

fn by_id(apps: &[Json]) -> BTreeMap<&str, &Map<String, Json>> {
    let apps = apps.iter().filter_map(Json::as_object);
    apps.map(|app| (app.get("id").and_then(Json::as_str).unwrap_or_default(), app)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuthKeys, Environment, load};

    fn config(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), &Environment::default(), AuthKeys::Optional).unwrap()
    }

    #[test]
    fn settings_and_those_of_apps_are_named() {
        let app = |id: &str, more: &str| {
            format!("[[apps]]\nid = \"{id}\"\nkey = \"k{id}\"\nsecret = \"s\"\n{more}\n")
        };
        let before = config(&format!(
            "limits.burst = 7\n[channels.news]\nfields = [\"a\"]\n{}{}",
            app("1", ""),
            app("2", "")
        ));
        let after = config(&format!(
            "log.level = \"debug\"\n[channels.news]\nfields = [\"b\"]\n{}{}",
            app("1", "enabled = false"),
            app("3", "history = [{ channels = [\"a\"], messages = 1, age = \"1m\" }]")
        ));
        assert!(changes(&before, &before).is_empty());
        let expected = [
            "apps.1.enabled",
            "apps.2",
            "apps.3",
            "apps.3.history",
            "channels.news.fields",
            "limits.burst",
            "log.level",
        ];
        assert_eq!(changes(&before, &after), expected);
        let other_first = config(&format!("{}{}", app("2", ""), app("1", "")));
        assert!(changes(&before, &other_first).contains(&"apps".to_owned()));
    }
}
