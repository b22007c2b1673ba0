use std::collections::HashMap;
use std::sync::Arc;

use super::reject_reason::Fatal;
use super::settings::{AppSettings, Problem, PusherSettings};
use crate::auth::pusher::{AppCredentials, CredentialsError};

/// An app: its credentials and its settings.
#[derive(Debug)]
pub struct App {
    pub credentials: AppCredentials,
    /// `[pusher]` with the overrides of the app.
    pub rules: PusherSettings,
    /// A disabled app rejects connections and API calls.
    pub enabled: bool,
}

/// All apps of a server.
#[derive(Debug, Clone, Default)]
pub struct Apps {
    by_key: HashMap<Arc<str>, Arc<App>>,
    by_id: HashMap<Arc<str>, Arc<App>>,
    first: Option<Arc<App>>,
}

/// The supported protocol versions. They differ only in what the client must do, so the server treats them alike.
const VERSIONS: std::ops::RangeInclusive<u64> = 5..=7;

impl Apps {
    /// Validates the settings. The error lists every problem with the index of its app in `[[apps]]`, counted from 0.
    pub fn new(defaults: &PusherSettings, apps: &[AppSettings]) -> Result<Self, Vec<(usize, Problem)>> {
        let mut all = Self::default();
        let mut problems = Vec::new();
        for (index, settings) in apps.iter().enumerate() {
            let mut problem = |key, message| problems.push((index, Problem { key, message }));
            let rules = settings.with_defaults(defaults);
            for Problem { key, message } in rules.problems() {
                problem(key, message);
            }
            let credentials = match AppCredentials::new(&settings.id, &settings.key, settings.secrets()) {
                Ok(credentials) => credentials,
                Err(error) => {
                    let key = match error {
                        CredentialsError::NoId => "id",
                        CredentialsError::NoKey | CredentialsError::KeyCharacter => "key",
                        CredentialsError::NoSecret => "secret",
                    };
                    problem(key, error.to_string());
                    continue;
                }
            };
            let app = Arc::new(App { credentials, rules, enabled: settings.enabled });
            all.first.get_or_insert_with(|| app.clone());
            if all.by_id.insert(app.credentials.id().clone(), app.clone()).is_some() {
                problem("id", format!("{:?} is also another app's", settings.id));
            }
            if all.by_key.insert(app.credentials.key().clone(), app).is_some() {
                problem("key", format!("{:?} is also another app's", settings.key));
            }
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Finds an app by its ID. Disabled apps are included.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<App>> {
        self.by_id.get(id)
    }

    /// The first app of the settings. It is the default where a request or a topic names no app.
    #[must_use]
    pub fn first(&self) -> Option<&Arc<App>> {
        self.first.as_ref()
    }

    /// All apps, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.by_id.values()
    }

    /// Finds the app that a client connects to. `key` comes from the path, `protocol` from the query.
    pub fn connect(&self, key: &str, query: Option<&str>) -> Result<&Arc<App>, Fatal> {
        let app = self.by_key.get(key).ok_or(Fatal::NoSuchApp)?;
        if !app.enabled {
            return Err(Fatal::AppDisabled);
        }
        check_version(query)?;
        Ok(app)
    }
}

fn check_version(query: Option<&str>) -> Result<(), Fatal> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let (_, version) = pairs.find(|(key, _)| key == "protocol").ok_or(Fatal::NoVersion)?;
    if version.is_empty() {
        return Err(Fatal::NoVersion);
    }
    if !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fatal::InvalidVersion);
    }
    // A number that overflows is an unsupported version, too.
    let is_served = version.parse().is_ok_and(|version| VERSIONS.contains(&version));
    if is_served { Ok(()) } else { Err(Fatal::UnsupportedVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> AppSettings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn connecting_needs_an_enabled_app_and_a_supported_version() {
        let apps = Apps::new(
            &PusherSettings::default(),
            &[
                settings(r#"{"id":"1","key":"k","secret":"s"}"#),
                settings(r#"{"id":"2","key":"off","secret":"s","enabled":false}"#),
            ],
        )
        .unwrap();
        let code = |key: &str, query: &str| {
            apps.connect(key, Some(query)).map_or_else(|fatal| fatal.close().code, |_| 0)
        };
        assert_eq!(code("k", "protocol=7&client=js&version=8.4.0"), 0);
        assert_eq!([code("k", "protocol=5"), code("k", "protocol=6")], [0, 0]);
        assert_eq!(code("x", "protocol=7"), 4001);
        assert_eq!(code("off", "protocol=7"), 4003);
        assert_eq!([code("k", "protocol=x"), code("k", "protocol=-7"), code("k", "protocol=7.0")], [4006; 3]);
        let large = "protocol=99999999999999999999999";
        assert_eq!([code("k", "protocol=4"), code("k", "protocol=8"), code("k", large)], [4007; 3]);
        assert_eq!([code("k", ""), code("k", "protocol="), code("k", "x=7")], [4008; 3]);
        assert!(apps.connect("k", None).is_err());
        assert_eq!(&**apps.by_id("2").unwrap().credentials.key(), "off");
    }

    #[test]
    fn every_problem_of_every_app_is_reported() {
        let problems = Apps::new(
            &PusherSettings::default(),
            &[
                settings(r#"{"id":"1","key":"k","secret":"s","event_bytes":0}"#),
                settings(r#"{"id":"1","key":"k","secret":"s"}"#),
                settings(r#"{"id":"3","key":"l","secret":""}"#),
                settings(r#"{"id":"4","key":"m","secret":"","previous_secrets":["s"]}"#),
            ],
        )
        .unwrap_err();
        let found: Vec<_> = problems.iter().map(|(index, problem)| (*index, problem.key)).collect();
        assert_eq!(found, [(0, "event_bytes"), (1, "id"), (1, "key"), (2, "secret")]);
    }
}
