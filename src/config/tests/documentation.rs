//! Holds `config/default.toml` to be complete.

use std::time::Duration;

use super::*;
use crate::config::schema::{DEFAULTS, Schema};
use crate::telemetry::LogFormat;

#[test]
fn the_defaults_are_valid_and_complete() {
    let config = env(&[]);
    assert_eq!(config.settings.server.server.port, 8080);
    assert_eq!(config.settings.server.heartbeat.interval, Duration::from_secs(30));
    assert_eq!(config.settings.server.channels["chat"].fields.as_deref().unwrap(), ["message", "name"]);
    assert_eq!(config.settings.log.format, LogFormat::Text);
    assert!(config.entries.iter().all(|entry| entry.origin.is_none()));
    assert!(config.warnings.is_empty());
}

/// The settings' structs have no defaults of their own and refuse unknown keys. So taking any line away from the
/// file, or adding one, is an error: the file documents every key, and each key reaches a struct.
#[test]
fn every_key_is_documented_and_read() {
    let tables = ::config::Source::collect(&crate::config::schema::defaults()).unwrap();
    let whole: serde_json::Map<_, _> =
        tables.iter().map(|(name, value)| (name.clone(), crate::config::validator::to_json(value))).collect();
    Settings::deserialize(&whole).unwrap();
    let schema = Schema::read().unwrap();
    assert!(schema.keys().count() > 25);
    for key in schema.keys() {
        let line = DEFAULTS.lines().find(|line| line.starts_with(&format!("{} = ", key.name)));
        assert!(line.is_some(), "{key}");
        if key.section.is_empty() {
            continue;
        }
        let mut without = whole.clone();
        without[&key.section].as_object_mut().unwrap().remove(&key.name);
        // The settings of [pusher] have their own defaults, see below.
        let is_needed = key.section != "pusher";
        assert_eq!(Settings::deserialize(&without).is_err(), is_needed, "{key} is not needed");
        let mut more = whole.clone();
        let section = more[&key.section].as_object_mut().unwrap();
        section.insert("surplus".to_owned(), serde_json::json!(1));
        assert!(Settings::deserialize(&more).is_err(), "[{}] takes anything", key.section);
    }
}

/// The protocol's settings have defaults in code too. They must be the same.
#[test]
fn the_defaults_of_the_pusher_protocol_are_its_own() {
    let of_file = format!("{:#?}", env(&[]).settings.server.pusher);
    assert_eq!(of_file, format!("{:#?}", crate::protocol::pusher::PusherSettings::default()));
    let schema = Schema::read().unwrap();
    let fields: Vec<&str> = of_file
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with(' '))
        .collect();
    let documented: Vec<&str> =
        schema.keys().filter(|key| key.section == "pusher").map(|key| &*key.name).collect();
    assert_eq!(documented, fields);
    for name in ["id", "key", "secret", "previous_secrets", "enabled"] {
        assert!(DEFAULTS.contains(&format!("\n#   {name} = ")), "{name}");
    }
}
