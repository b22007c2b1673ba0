//! Tables with settings of their own: `[[auth.keys]]`, `[[api.keys]]`, `[[apps]]`, `[[webhooks]]`, `[[pusher.webhooks]]`, `[[pusher.history]]`, and `history` and `gate` of a kind of
//! channel.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::schema::{SettingType, TableType, nearest};
use super::validator::{Validator, reason, wrong_type};
use super::{Key, Problem};
use crate::api::Scope;
use crate::message::Retention;
use crate::protocol::native::GateSettings;
use crate::protocol::pusher::{HistoryRule, WebhookFilter, WebhookSettings};
use crate::webhook_target::WebhookTarget;
use crate::webhooks::NativeEventKind;

/// The TOML header of an entry.
const fn header(array: TableType) -> &'static str {
    match array {
        TableType::AuthKeys => "[[auth.keys]]",
        TableType::ApiKeys => "[[api.keys]]",
        TableType::Apps => "[[apps]]",
        TableType::Webhooks => "[[pusher.webhooks]] or [[apps.webhooks]]",
        TableType::NativeWebhooks => "[[webhooks]]",
        TableType::History => "[[pusher.history]] or [[apps.history]]",
        TableType::Retention => "[channels.KIND.history]",
        TableType::Gate => "[channels.KIND.gate]",
    }
}

/// The settings of an entry. An app may also have the settings of `[pusher]`.
const fn own_settings(array: TableType) -> &'static [(&'static str, SettingType)] {
    match array {
        TableType::AuthKeys => &[
            ("kid", SettingType::Text),
            ("algorithm", SettingType::Text),
            ("secret", SettingType::Text),
            ("public_key_file", SettingType::Text),
        ],
        TableType::ApiKeys => {
            &[("name", SettingType::Text), ("secret", SettingType::Text), ("scopes", SettingType::List)]
        }
        TableType::Apps => &[
            ("id", SettingType::Text),
            ("key", SettingType::Text),
            ("secret", SettingType::Text),
            ("previous_secrets", SettingType::List),
            ("enabled", SettingType::Boolean),
        ],
        TableType::Webhooks => &[
            ("url", SettingType::Text),
            ("events", SettingType::List),
            ("headers", SettingType::Texts),
            ("filter", SettingType::Texts),
        ],
        TableType::NativeWebhooks => &[
            ("url", SettingType::Text),
            ("kinds", SettingType::List),
            ("events", SettingType::List),
            ("headers", SettingType::Texts),
        ],
        TableType::History => {
            &[("channels", SettingType::List), ("messages", SettingType::Integer), ("age", SettingType::Text)]
        }
        TableType::Retention => &[("messages", SettingType::Integer), ("age", SettingType::Text)],
        TableType::Gate => &[
            ("url", SettingType::Text),
            ("timeout", SettingType::Text),
            ("on_failure", SettingType::Text),
            ("max_in_flight", SettingType::Integer),
        ],
    }
}

/// The required settings of an entry, each with the message for when it is missing.
const fn required(array: TableType) -> &'static [(&'static str, &'static str)] {
    match array {
        TableType::AuthKeys => &[("algorithm", "is required, such as \"RS256\"")],
        TableType::ApiKeys => &[
            ("name", "is required: what the log calls the key, such as \"laravel\""),
            ("secret", "is required: at least 32 random bytes, such as from `openssl rand -hex 32`"),
            ("scopes", "is required, such as [\"publish\", \"read\"]"),
        ],
        TableType::Apps => &[
            ("id", "is required: Laravel's PUSHER_APP_ID or REVERB_APP_ID"),
            ("key", "is required: Laravel's PUSHER_APP_KEY or REVERB_APP_KEY"),
            ("secret", "is required: Laravel's PUSHER_APP_SECRET or REVERB_APP_SECRET"),
        ],
        TableType::Webhooks | TableType::NativeWebhooks => {
            &[("url", "is required, such as \"https://app.example.com/webhook\"")]
        }
        TableType::History => &[
            ("channels", "is required, such as [\"private-orders.*\", \"news\"]"),
            ("messages", "is required, such as 1000"),
            ("age", "is required, such as \"2m\""),
        ],
        TableType::Gate => &[("url", "is required, such as \"https://app.example.com/gate\"")],
        TableType::Retention => {
            &[("messages", "is required, such as 1000"), ("age", "is required, such as \"2m\"")]
        }
    }
}

/// The problems of an array at `at`. Quotes no values, which may be secrets.
pub(super) fn problems(
    array: TableType,
    at: &str,
    json: &Json,
    origin: Option<&str>,
    validator: &Validator<'_>,
) -> Vec<Problem> {
    let Json::Array(items) = json else {
        let message = format!("must be tables, each under {}", header(array));
        return vec![Problem::new(at, origin, message)];
    };
    let mut problems = Vec::new();
    for (index, item) in items.iter().enumerate() {
        problems.extend(problems_of_table(array, &format!("{at}[{index}]"), item, origin, validator));
    }
    problems
}

/// The problems of a single table.
pub(super) fn problems_of_table(
    of: TableType,
    at: &str,
    json: &Json,
    origin: Option<&str>,
    validator: &Validator<'_>,
) -> Vec<Problem> {
    let Json::Object(table) = json else {
        let message = match of {
            TableType::Retention | TableType::Gate => format!("must be a table such as {}", of.example()),
            _ => format!("must be a table under {}", header(of)),
        };
        return vec![Problem::new(at, origin, message)];
    };
    let mut problems = Vec::new();
    for (name, value) in table {
        problems.extend(problems_of_setting(of, &format!("{at}.{name}"), name, value, origin, validator));
    }
    for (name, message) in required(of) {
        if !table.contains_key(*name) {
            problems.push(Problem::new(format!("{at}.{name}"), origin, *message));
        }
    }
    if of == TableType::Webhooks
        && problems.is_empty()
        && let Err(error) = serde_json::from_value::<WebhookSettings>(json.clone())
    {
        // The types are right, so it is an unknown event or an unknown filter condition.
        let filter = table.get("filter").cloned().unwrap_or_default();
        let is_filter = !filter.is_null() && serde_json::from_value::<WebhookFilter>(filter).is_err();
        let name = if is_filter { "filter" } else { "events" };
        problems.push(Problem::new(format!("{at}.{name}"), origin, error.to_string()));
    }
    problems
}

/// What is wrong with a setting whose type is right, on its own.
fn wrong_value(of: TableType, name: &str, value: &Json) -> Option<String> {
    let with_value = |mut table: Json| {
        if let Some(setting) = table.get_mut(name) {
            *setting = value.clone();
        }
        table
    };
    let retention = json!({ "messages": 1, "age": "1s" });
    if of == TableType::Gate && name == "url" {
        let url = value.as_str().unwrap_or_default();
        return WebhookTarget::new(url, &BTreeMap::new()).err().map(|error| error.to_string());
    }
    let error = match of {
        TableType::NativeWebhooks if name == "events" => {
            serde_json::from_value::<Vec<NativeEventKind>>(value.clone()).err()
        }
        TableType::Gate => {
            let mut gate = json!({ "url": "http://app" });
            if let Some(table) = gate.as_object_mut() {
                table.insert(name.to_owned(), value.clone());
            }
            serde_json::from_value::<GateSettings>(gate).err()
        }
        TableType::ApiKeys if name == "scopes" => serde_json::from_value::<Vec<Scope>>(value.clone()).err(),
        TableType::Retention => serde_json::from_value::<Retention>(with_value(retention)).err(),
        TableType::History => {
            let rule = json!({ "channels": ["a"], "messages": 1, "age": "1s" });
            serde_json::from_value::<HistoryRule>(with_value(rule)).err()
        }
        _ => None,
    };
    // A pattern is named in the message.
    error.map(|error| match name {
        "channels" | "scopes" | "events" => error.to_string(),
        _ => reason(value, &error.to_string()),
    })
}

fn problems_of_setting(
    array: TableType,
    at: &str,
    name: &str,
    value: &Json,
    origin: Option<&str>,
    validator: &Validator<'_>,
) -> Vec<Problem> {
    if let Some((_, kind)) = own_settings(array).iter().find(|(own, _)| *own == name) {
        let message = match (wrong_type(*kind, value), name) {
            (Some(_), "age" | "timeout") => Some("must be a duration such as \"2m\"".to_owned()),
            (Some(expected), _) => Some(format!("must be {expected}")),
            (None, _) => wrong_value(array, name, value),
        };
        return message.map(|message| Problem::new(at, origin, message)).into_iter().collect();
    }
    let in_pusher = Key::new("pusher", name);
    if array == TableType::Apps
        && let Some(kind) = validator.schema.type_of(&in_pusher)
    {
        return match kind {
            SettingType::Tables(array) => problems(array, at, value, origin, validator),
            kind => validator.check(at, &in_pusher, kind, value, origin),
        };
    }
    let of_pusher = validator.schema.keys().filter(|key| array == TableType::Apps && key.section == "pusher");
    let names = own_settings(array).iter().map(|(own, _)| *own).chain(of_pusher.map(|key| &*key.name));
    let meant = nearest(name, names).map(|meant| format!("; did you mean {meant}?"));
    let message = format!("unknown setting{}", meant.unwrap_or_default());
    vec![Problem::new(at, origin, message)]
}
