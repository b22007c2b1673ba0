//! Names of settings in existing `.env` files.

use super::Key;

/// Variable, section and name. The first one that is set wins; the `YAMABIKO__` name wins over all.
pub(super) const ALIASES: [(&str, &str, &str); 7] = [
    // The Node server that Yamabiko replaces.
    ("APP_WS_HOST", "server", "host"),
    ("APP_WS_PORT", "server", "port"),
    ("APP_WS_JWT_SECRET", "auth", "secret"),
    ("APP_REDIS_URL", "redis", "url"),
    ("APP_REDIS_PREFIX", "redis", "prefix"),
    // Laravel. Without a URL, `redis_url` builds one from REDIS_HOST and related variables.
    ("REDIS_URL", "redis", "url"),
    ("REDIS_PREFIX", "redis", "prefix"),
];

/// The variables other than `YAMABIKO__…`, with the setting of each.
pub(super) fn aliases() -> impl Iterator<Item = (&'static str, Key)> {
    ALIASES.into_iter().map(|(variable, section, name)| (variable, Key::new(section, name)))
}
