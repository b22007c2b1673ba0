use secrecy::{ExposeSecret, SecretString};

use super::{Config, Key};

/// A secret of the settings, and what a problem with it is reported at.
pub(super) struct NamedSecret<'a> {
    pub(super) key: Key,
    /// Such as `apps[0].secret`.
    pub(super) at: String,
    secret: &'a SecretString,
}

/// The secrets that sign or authorize, without the unset ones.
pub(super) fn of(config: &Config) -> impl Iterator<Item = NamedSecret<'_>> {
    let server = &config.settings.server;
    let one = |key: Key, at: String, secret| NamedSecret { key, at, secret };
    let of_tokens = one(Key::new("auth", "secret"), "auth.secret".to_owned(), &server.auth.secret);
    let of_events = one(Key::new("events", "secret"), "events.secret".to_owned(), &server.events.secret);
    let of_keys = server.auth.keys.iter().enumerate().filter_map(move |(index, key)| {
        Some(one(Key::new("auth", "keys"), format!("auth.keys[{index}].secret"), key.secret.as_ref()?))
    });
    let of_apps = server
        .apps
        .iter()
        .enumerate()
        .map(move |(index, app)| one(Key::top("apps"), format!("apps[{index}].secret"), &app.secret));
    let of_api = server.api.keys.iter().enumerate().map(move |(index, key)| {
        one(Key::new("api", "keys"), format!("api.keys[{index}].secret"), &key.secret)
    });
    let all = [of_tokens, of_events].into_iter().chain(of_keys).chain(of_apps).chain(of_api);
    all.filter(|named| !named.text().is_empty())
}

impl NamedSecret<'_> {
    pub(super) fn text(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Whether it is the placeholder of an example, such as `change-me-to-…`, with which everyone could sign.
    pub(super) fn is_placeholder(&self) -> bool {
        let letters = self.text().chars().filter(char::is_ascii_alphabetic).take("changeme".len());
        letters.collect::<String>().eq_ignore_ascii_case("changeme")
    }
}
