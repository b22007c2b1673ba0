//! The names under which existing `.env` files know our settings.

use super::Key;

/// Variable, section, setting. The first that is set wins; the `YAMABIKO__` name wins over all.
pub(super) const ALIASES: [(&str, &str, &str); 7] = [
    // The Node server that this one replaces.
    ("APP_WS_HOST", "server", "host"),
    ("APP_WS_PORT", "server", "port"),
    ("APP_WS_JWT_SECRET", "auth", "secret"),
    ("APP_REDIS_URL", "redis", "url"),
    ("APP_REDIS_PREFIX", "redis", "prefix"),
    // Laravel. Without any URL, `redis_url` composes one from REDIS_HOST and its companions.
    ("REDIS_URL", "redis", "url"),
    ("REDIS_PREFIX", "redis", "prefix"),
];

/// The variables that set something under another name than `YAMABIKO__…`, with the key that they set.
pub(super) fn aliases() -> impl Iterator<Item = (&'static str, Key)> {
    ALIASES.into_iter().map(|(variable, section, name)| (variable, Key::new(section, name)))
}
