//! Builds apps from Laravel's variables for Pusher and Reverb.

use config::{Map, Value, ValueKind};

use super::{Environment, Problem};

/// The id, key and secret of Pusher and of Reverb.
pub(super) const VARIABLES: [[&str; 3]; 2] = [
    ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"],
    ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"],
];

/// The setting `apps` with an app for Pusher's variables and one for Reverb's; `None` if none is set. An incomplete set is a
/// problem.
///
/// With both, an application is migrating between them and has pages of both kinds. If they share an id or key, which two
/// apps cannot, only Pusher's is used.
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
                let message =
                    format!("must be set together with {set}: an app needs an id, a key and a secret");
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
