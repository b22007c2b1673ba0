//! One app out of the variables that Laravel has for Pusher, or else for Reverb.

use config::{Map, Value, ValueKind};

use super::{Environment, Problem};

/// The id, the key and the secret: of Pusher's three, and if none of them is set of Reverb's.
pub(super) const VARIABLES: [[&str; 3]; 2] = [
    ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"],
    ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"],
];

/// `apps` with that one app; `None` if no variable is set. Some without the others are a problem.
pub(super) fn compose(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Value> {
    for variables in VARIABLES {
        let [id, key, secret] = variables.map(|name| environment.laravel_text(name, problems));
        match (id, key, secret) {
            (None, None, None) => {}
            (Some(id), Some(key), Some(secret)) => {
                let origin = variables.join(", ");
                let value = |kind: ValueKind| Value::new(Some(&origin), kind);
                let app: Map<String, Value> = [("id", id), ("key", key), ("secret", secret)]
                    .into_iter()
                    .map(|(name, text)| (name.to_owned(), value(text.into())))
                    .collect();
                return Some(value(ValueKind::Array(vec![value(ValueKind::Table(app))])));
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
    None
}
