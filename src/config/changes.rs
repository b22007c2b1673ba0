//! What differs between two versions of the settings.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{Config, Key};

/// The names of the settings that differ. Those of apps are named one by one, `apps.ID.secret`; `apps` itself differs if an app is new
/// or gone.
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
    let ids = |apps: &[Json]| -> Vec<Json> { apps.iter().filter_map(|app| app.get("id").cloned()).collect() };
    let mut changes = Vec::new();
    // The first one is the default.
    if ids(before) != ids(after) {
        changes.push("apps".to_owned());
    }
    for app in before.iter().filter_map(Json::as_object) {
        let same = |other: &&Map<String, Json>| other.get("id") == app.get("id");
        let Some(other) = after.iter().filter_map(Json::as_object).find(same) else { continue };
        let id = app.get("id").and_then(Json::as_str).unwrap_or_default();
        let names: BTreeSet<&String> = app.keys().chain(other.keys()).collect();
        let differing = names.into_iter().filter(|name| app.get(*name) != other.get(*name));
        changes.extend(differing.map(|name| format!("apps.{id}.{name}")));
    }
    changes
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
            app("3", "")
        ));
        assert!(changes(&before, &before).is_empty());
        let expected = ["apps", "apps.1.enabled", "channels.news.fields", "limits.burst", "log.level"];
        assert_eq!(changes(&before, &after), expected);
    }
}
