//! Arrays of tables: `[[auth.keys]]`, `[[apps]]` and `[[pusher.webhooks]]`.

use serde_json::Value as Json;

use super::schema::{SettingType, TableArray, nearest};
use super::validator::{Validator, wrong_type};
use super::{Key, Problem};
use crate::protocol::pusher::{WebhookFilter, WebhookSettings};

/// The TOML header of an entry.
const fn header(array: TableArray) -> &'static str {
    match array {
        TableArray::AuthKeys => "[[auth.keys]]",
        TableArray::Apps => "[[apps]]",
        TableArray::Webhooks => "[[pusher.webhooks]] or [[apps.webhooks]]",
    }
}

/// The settings of an entry. An app may also have the settings of `[pusher]`.
const fn own_settings(array: TableArray) -> &'static [(&'static str, SettingType)] {
    match array {
        TableArray::AuthKeys => &[
            ("kid", SettingType::Text),
            ("algorithm", SettingType::Text),
            ("secret", SettingType::Text),
            ("public_key_file", SettingType::Text),
        ],
        TableArray::Apps => &[
            ("id", SettingType::Text),
            ("key", SettingType::Text),
            ("secret", SettingType::Text),
            ("previous_secrets", SettingType::List),
            ("enabled", SettingType::Boolean),
        ],
        TableArray::Webhooks => &[
            ("url", SettingType::Text),
            ("events", SettingType::List),
            ("headers", SettingType::Texts),
            ("filter", SettingType::Texts),
        ],
    }
}

/// The required settings of an entry, each with the message for when it is missing.
const fn required(array: TableArray) -> &'static [(&'static str, &'static str)] {
    match array {
        TableArray::AuthKeys => &[("algorithm", "is required, such as \"RS256\"")],
        TableArray::Apps => &[
            ("id", "is required: Laravel's PUSHER_APP_ID or REVERB_APP_ID"),
            ("key", "is required: Laravel's PUSHER_APP_KEY or REVERB_APP_KEY"),
            ("secret", "is required: Laravel's PUSHER_APP_SECRET or REVERB_APP_SECRET"),
        ],
        TableArray::Webhooks => &[("url", "is required, such as \"https://app.example.com/webhook\"")],
    }
}

/// The problems of an array at `at`. Quotes no values, which may be secrets.
pub(super) fn problems(
    array: TableArray,
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
        let at = format!("{at}[{index}]");
        let Json::Object(table) = item else {
            let message = format!("must be a table under {}", header(array));
            problems.push(Problem::new(at, origin, message));
            continue;
        };
        let before = problems.len();
        for (name, value) in table {
            problems.extend(problems_of_setting(
                array,
                &format!("{at}.{name}"),
                name,
                value,
                origin,
                validator,
            ));
        }
        for (name, message) in required(array) {
            if !table.contains_key(*name) {
                problems.push(Problem::new(format!("{at}.{name}"), origin, *message));
            }
        }
        if array == TableArray::Webhooks
            && problems.len() == before
            && let Err(error) = serde_json::from_value::<WebhookSettings>(item.clone())
        {
            // The types are right, so it is an unknown event or an unknown filter condition.
            let filter = table.get("filter").cloned().unwrap_or_default();
            let is_filter = !filter.is_null() && serde_json::from_value::<WebhookFilter>(filter).is_err();
            let name = if is_filter { "filter" } else { "events" };
            problems.push(Problem::new(format!("{at}.{name}"), origin, error.to_string()));
        }
    }
    problems
}

fn problems_of_setting(
    array: TableArray,
    at: &str,
    name: &str,
    value: &Json,
    origin: Option<&str>,
    validator: &Validator<'_>,
) -> Vec<Problem> {
    if let Some((_, kind)) = own_settings(array).iter().find(|(own, _)| *own == name) {
        let expected = wrong_type(*kind, value).map(|expected| format!("must be {expected}"));
        return expected.map(|message| Problem::new(at, origin, message)).into_iter().collect();
    }
    let in_pusher = Key::new("pusher", name);
    if array == TableArray::Apps
        && let Some(kind) = validator.schema.type_of(&in_pusher)
    {
        return match kind {
            SettingType::Tables(array) => problems(array, at, value, origin, validator),
            kind => validator.check(at, &in_pusher, kind, value, origin),
        };
    }
    let of_pusher =
        validator.schema.keys().filter(|key| array == TableArray::Apps && key.section == "pusher");
    let names = own_settings(array).iter().map(|(own, _)| *own).chain(of_pusher.map(|key| &*key.name));
    let meant = nearest(name, names).map(|meant| format!("; did you mean {meant}?"));
    let message = format!("unknown setting{}", meant.unwrap_or_default());
    vec![Problem::new(at, origin, message)]
}
