use std::fmt;

/// The name of one setting: `server.port`, or `channels.chat.fields`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The table, such as `server`. Empty for settings outside tables, such as `apps`.
    pub section: String,
    /// The kind of channel, only in `[channels.KIND]`.
    pub kind: Option<String>,
    /// The name in the table, such as `port`.
    pub name: String,
}

impl Key {
    #[must_use]
    pub fn new(section: &str, name: &str) -> Self {
        Self { section: section.to_owned(), kind: None, name: name.to_owned() }
    }

    #[must_use]
    pub fn of_channel(kind: &str, name: &str) -> Self {
        Self { section: "channels".to_owned(), kind: Some(kind.to_owned()), name: name.to_owned() }
    }

    /// A setting outside tables.
    #[must_use]
    pub fn top(name: &str) -> Self {
        Self::new("", name)
    }

    /// Whether the value is or contains a secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(
            (&*self.section, &*self.name),
            ("auth", "secret" | "keys")
                | ("api", "keys")
                | ("redis", "url")
                | ("", "apps" | "webhooks")
                | ("pusher", "webhooks")
                | ("events", "secret")
                | ("tracing", "endpoint" | "headers")
                | ("channels", "gate")
        )
    }

    /// The table's header in TOML, without brackets.
    #[must_use]
    pub fn table(&self) -> String {
        match &self.kind {
            Some(kind) => format!("{}.{}", self.section, bare_or_quoted(kind)),
            None => self.section.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.table() {
            "" => f.write_str(&self.name),
            table => write!(f, "{table}.{}", self.name),
        }
    }
}

impl From<&Key> for String {
    fn from(key: &Key) -> Self {
        key.to_string()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

fn bare_or_quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}
