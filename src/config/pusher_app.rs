//! Apps out of the variables that Laravel has for Pusher and for Reverb.

use config::{Map, Value, ValueKind};

use super::{Environment, Problem};

/// The id, the key and the secret: Pusher's three, and Reverb's.
pub(super) const VARIABLES: [[&str; 3]; 2] = [
    ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"],
    ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"],
];

/// `apps` with an app of Pusher's variables and one of Reverb's; `None` if none of them is set. Some without the others
/// are a problem.
///
/// Who has both has moved from one to the other, and pages of both kinds are about. Where they share an id or a key,
/// which no two apps can, there is only Pusher's.
pub(super) fn compose(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Value> {
    let mut found: Vec<[String; 3]> = Vec::new();
    let mut origins = Vec::new();
    for variables in VARIABLES {
        let [id, key, secret] = variables.map(|name| environment.laravel_text(name, problems));
        match (id, key, secret) {
            (None, None, None) => {}
            (Some(id), Some(key), Some(secret)) => {
                if !found.iter().any(|[other_id, other_key, _]| *other_id == id || *other_key == key) {
                    found.push([id, key, secret]);
                    origins.extend(variables);
                }
            }
            (id, key, secret) => {
                let given = [id.is_some(), key.is_some(), secret.is_some()];
                let of = |wanted: bool| {
                    let names = variables.iter().zip(given).filter(|(_, given)| *given == wanted);
                    names.map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
                };
                let (missing, set) = (of(false), of(true));
                let verb = if missing.contains(" and ") { "are" } else { "is" };
                let message = format!("{verb} missing beside {set}: an app has an id, a key and a secret");
                problems.push(Problem::new(missing, None, message));
                return None;
            }
        }
    }
    let origin = environment.origin(&origins);
    let value = |kind: ValueKind| Value::new(Some(&origin), kind);
    let apps: Vec<_> = found
        .into_iter()
        .map(|texts| {
            let app: Map<String, Value> = ["id", "key", "secret"]
                .into_iter()
                .zip(texts)
                .map(|(name, text)| (name.to_owned(), value(text.into())))
                .collect();
            value(ValueKind::Table(app))
        })
        .collect();
    (!apps.is_empty()).then(|| value(ValueKind::Array(apps)))
}
