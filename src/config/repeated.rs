//! The tables of which there may be many: `[[auth.keys]]`, `[[apps]]` and `[[pusher.webhooks]]`.

use serde_json::Value as Json;

use super::layer::{Trial, wrong_type};
use super::schema::{Type, nearest};
use super::{Key, Problem};
use crate::protocol::pusher::{WebhookFilter, WebhookSettings};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    AuthKeys,
    Apps,
    Webhooks,
}

impl Repeated {
    /// What the lists of a setting consist of, if that is tables.
    pub(super) fn of(key: &Key) -> Option<Self> {
        match (&*key.section, &*key.name) {
            ("auth", "keys") => Some(Self::AuthKeys),
            ("", "apps") => Some(Self::Apps),
            ("pusher", "webhooks") => Some(Self::Webhooks),
            _ => None,
        }
    }

    /// What a variable of the environment may say.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::AuthKeys => r#"[{ algorithm = "RS256", public_key_file = "key.pem" }]"#,
            Self::Apps => r#"[{ id = "my-app", key = "my-key", secret = "…" }]"#,
            Self::Webhooks => r#"[{ url = "https://app.example.com/webhook" }]"#,
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::AuthKeys => "[[auth.keys]]",
            Self::Apps => "[[apps]]",
            Self::Webhooks => "[[pusher.webhooks]] or [[apps.webhooks]]",
        }
    }

    /// What may be set, besides the settings of `[pusher]` in an app.
    const fn own(self) -> &'static [(&'static str, Type)] {
        match self {
            Self::AuthKeys => &[
                ("kid", Type::Text),
                ("algorithm", Type::Text),
                ("secret", Type::Text),
                ("public_key_file", Type::Text),
            ],
            Self::Apps => &[
                ("id", Type::Text),
                ("key", Type::Text),
                ("secret", Type::Text),
                ("previous_secrets", Type::List),
                ("enabled", Type::Boolean),
            ],
            Self::Webhooks => &[
                ("url", Type::Text),
                ("events", Type::List),
                ("headers", Type::Texts),
                ("filter", Type::Texts),
            ],
        }
    }

    /// What has to be set, and what to say where it is not.
    const fn required(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::AuthKeys => &[("algorithm", "is missing, as \"RS256\"")],
            Self::Apps => &[
                ("id", "is missing; it is Laravel's PUSHER_APP_ID or REVERB_APP_ID"),
                ("key", "is missing; it is Laravel's PUSHER_APP_KEY or REVERB_APP_KEY"),
                ("secret", "is missing; it is Laravel's PUSHER_APP_SECRET or REVERB_APP_SECRET"),
            ],
            Self::Webhooks => &[("url", "is missing, as \"https://app.example.com/webhook\"")],
        }
    }
}

/// What is wrong with a list that stands at `at`. Quotes nothing that may be a secret.
pub(super) fn problems(
    repeated: Repeated,
    at: &str,
    json: &Json,
    origin: Option<&str>,
    trial: &Trial<'_>,
) -> Vec<Problem> {
    let Json::Array(items) = json else {
        let message = format!("must be tables, each under {}", repeated.header());
        return vec![Problem::new(at, origin, message)];
    };
    let mut problems = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let Json::Object(table) = item else {
            let message = format!("must be a table under {}", repeated.header());
            problems.push(Problem::new(at, origin, message));
            continue;
        };
        let before = problems.len();
        for (name, value) in table {
            problems.extend(of_one(repeated, &format!("{at}.{name}"), name, value, origin, trial));
        }
        for (name, message) in repeated.required() {
            if !table.contains_key(*name) {
                problems.push(Problem::new(format!("{at}.{name}"), origin, *message));
            }
        }
        if repeated == Repeated::Webhooks
            && problems.len() == before
            && let Err(error) = serde_json::from_value::<WebhookSettings>(item.clone())
        {
            // The types are right, so it is a word that is no kind of event, or no condition of the filter.
            let filter = table.get("filter").cloned().unwrap_or_default();
            let is_filter = !filter.is_null() && serde_json::from_value::<WebhookFilter>(filter).is_err();
            let name = if is_filter { "filter" } else { "events" };
            problems.push(Problem::new(format!("{at}.{name}"), origin, error.to_string()));
        }
    }
    problems
}

fn of_one(
    repeated: Repeated,
    at: &str,
    name: &str,
    value: &Json,
    origin: Option<&str>,
    trial: &Trial<'_>,
) -> Vec<Problem> {
    if let Some((_, kind)) = repeated.own().iter().find(|(own, _)| *own == name) {
        let expected = wrong_type(*kind, value).map(|expected| format!("must be {expected}"));
        return expected.map(|message| Problem::new(at, origin, message)).into_iter().collect();
    }
    let in_pusher = Key::new("pusher", name);
    if repeated == Repeated::Apps
        && let Some(kind) = trial.schema.type_of(&in_pusher)
    {
        return trial.check(at, &in_pusher, kind, value, origin);
    }
    let of_pusher = trial.schema.keys().filter(|key| repeated == Repeated::Apps && key.section == "pusher");
    let names = repeated.own().iter().map(|(own, _)| *own).chain(of_pusher.map(|key| &*key.name));
    let meant = nearest(name, names).map(|meant| format!("; did you mean {meant}?"));
    let message = format!("there is no such setting{}", meant.unwrap_or_default());
    vec![Problem::new(at, origin, message)]
}
