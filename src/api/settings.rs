use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Scope;

/// `[api]`: the HTTP API of the application and of operators.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// `[[api.keys]]`
    pub keys: Vec<ApiKeySettings>,
    /// The path under which the public port serves the API too. Empty: it does not.
    pub public_path: String,
}

/// One of `[[api.keys]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeySettings {
    /// What logs and metrics call the key.
    pub name: String,
    /// What a request sends as its bearer token.
    pub secret: SecretString,
    /// What the key permits.
    pub scopes: Vec<Scope>,
}

/// What is wrong with `[api]`. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiProblem {
    /// `keys` or `public_path`.
    pub setting: &'static str,
    /// The setting with its path, such as `api.keys[0].secret`.
    pub at: String,
    pub message: String,
}

/// The shortest secret in bytes. Secrets are not passwords: they are compared without any key stretching.
const MIN_SECRET_BYTES: usize = 32;

/// The longest name in bytes. It is a label of metrics.
const MAX_NAME_BYTES: usize = 64;

impl Api {
    /// What the types cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<ApiProblem> {
        let mut problems = Vec::new();
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        for (index, key) in self.keys.iter().enumerate() {
            let mut problem = |name: &str, message: String| {
                problems.push(ApiProblem {
                    setting: "keys",
                    at: format!("api.keys[{index}].{name}"),
                    message,
                });
            };
            let is_name = (1..=MAX_NAME_BYTES).contains(&key.name.len())
                && key.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !is_name {
                problem(
                    "name",
                    format!("must have 1 to {MAX_NAME_BYTES} letters, digits, \"-\", \"_\" or \".\""),
                );
            } else if !names.insert(key.name.as_str()) {
                problem("name", format!("{:?} is also another key's", key.name));
            }
            let secret = key.secret.expose_secret();
            if secret.len() < MIN_SECRET_BYTES {
                problem(
                    "secret",
                    format!(
                        "has {} bytes and needs at least {MIN_SECRET_BYTES}, such as from `openssl rand -hex 32`",
                        secret.len()
                    ),
                );
            } else if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                problem("secret", "must be printable ASCII without spaces, to fit into a header".to_owned());
            } else if !secrets.insert(secret) {
                problem("secret", "is also another key's".to_owned());
            }
            if key.scopes.is_empty() {
                problem("scopes", "is empty, so the key would permit nothing".to_owned());
            }
        }
        problems.extend(self.public_path_problem().map(|message| ApiProblem {
            setting: "public_path",
            at: "api.public_path".to_owned(),
            message,
        }));
        problems
    }

    fn public_path_problem(&self) -> Option<String> {
        let path = self.public_path.as_str();
        if path.is_empty() {
            return None;
        }
        let is_segment = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let is_path =
            path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
        if !is_path {
            return Some(format!(
                "{path:?} is not a path such as \"/yamabiko\": it starts with a slash, ends without one, and has letters, digits, \
                 \"-\", \"_\" and \".\" in between"
            ));
        }
        self.keys
            .is_empty()
            .then(|| "needs a key: everyone can reach the public port, so set [[api.keys]] too".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        let api: Api = serde_json::from_str(json).unwrap();
        api.problems().into_iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect()
    }

    #[test]
    fn keys_have_a_name_a_long_secret_and_a_scope() {
        let good = "0123456789abcdef0123456789abcdef";
        let keys = format!(
            r#"{{"public_path":"/a/b-c","keys":[{{"name":"laravel","secret":"{good}","scopes":["publish","*"]}}]}}"#
        );
        assert_eq!(problems(&keys), [""; 0]);
        let keys = format!(
            r#"{{"public_path":"","keys":[{{"name":"a b","secret":"short","scopes":[]}},
                {{"name":"a","secret":"{good}","scopes":["read"]}},
                {{"name":"a","secret":"{good}","scopes":["read"]}},
                {{"name":"b","secret":"{good} ","scopes":["read"]}}]}}"#
        );
        let found = problems(&keys);
        let at: Vec<&str> = found.iter().map(|problem| problem.split(':').next().unwrap()).collect();
        assert_eq!(
            at,
            [
                "api.keys[0].name",
                "api.keys[0].secret",
                "api.keys[0].scopes",
                "api.keys[2].name",
                "api.keys[2].secret",
                "api.keys[3].secret"
            ]
        );
        assert!(found.iter().all(|problem| !problem.contains(good)), "{found:?}");
    }

    #[test]
    fn the_public_path_is_a_path_and_needs_a_key() {
        let with = |path: &str, key: bool| {
            let keys = if key {
                r#"[{"name":"a","secret":"0123456789abcdef0123456789abcdef","scopes":["*"]}]"#
            } else {
                "[]"
            };
            problems(&format!(r#"{{"public_path":"{path}","keys":{keys}}}"#)).len()
        };
        for path in ["", "/", "/yamabiko", "/a/b"] {
            assert_eq!(with(path, true), 0, "{path}");
        }
        for path in ["yamabiko", "/yamabiko/", "//", "/a//b", "/{a}", "/a b", "/..", "/a?b", "/山"] {
            assert_eq!(with(path, true), 1, "{path}");
        }
        assert_eq!([with("/", false), with("/yamabiko", false), with("", false)], [1, 1, 0]);
    }
}
