//! All settings and their types, from `config/default.toml`.

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::Key;

/// The defaults and documentation of every setting.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The settings of each `[channels.KIND]`.
const CHANNEL_SETTINGS: [(&str, SettingType); 6] = [
    ("fields", SettingType::List),
    ("targeting", SettingType::Boolean),
    ("client_send", SettingType::Boolean),
    ("presence", SettingType::Boolean),
    ("history", SettingType::Table(TableType::Retention)),
    ("gate", SettingType::Table(TableType::Gate)),
];

/// The type of a setting is the type of its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettingType {
    Boolean,
    Integer,
    /// A number that need not be whole.
    Number,
    Text,
    List,
    /// A table of strings.
    Texts,
    Table(TableType),
    Tables(TableType),
}

/// The tables with settings of their own. All except `Retention` and `Gate` come in arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableType {
    AuthKeys,
    ApiKeys,
    Apps,
    Webhooks,
    NativeWebhooks,
    History,
    Retention,
    Gate,
}

impl TableType {
    fn of(key: &Key) -> Option<Self> {
        match (&*key.section, &*key.name) {
            ("auth", "keys") => Some(Self::AuthKeys),
            ("api", "keys") => Some(Self::ApiKeys),
            ("", "apps") => Some(Self::Apps),
            ("", "webhooks") => Some(Self::NativeWebhooks),
            ("pusher", "webhooks") => Some(Self::Webhooks),
            ("pusher", "history") => Some(Self::History),
            _ => None,
        }
    }

    /// An example of the value of an environment variable.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::AuthKeys => r#"[{ algorithm = "RS256", public_key_file = "key.pem" }]"#,
            Self::ApiKeys => r#"[{ name = "laravel", secret = "…", scopes = ["publish"] }]"#,
            Self::Apps => r#"[{ id = "my-app", key = "my-key", secret = "…" }]"#,
            Self::Webhooks | Self::NativeWebhooks => r#"[{ url = "https://app.example.com/webhook" }]"#,
            Self::History => r#"[{ channels = ["news"], messages = 1000, age = "2m" }]"#,
            Self::Gate => r#"{ url = "https://app.example.com/gate" }"#,
            Self::Retention => r#"{ messages = 1000, age = "2m" }"#,
        }
    }
}

/// A setting outside arrays of tables.
struct Setting {
    key: Key,
    kind: SettingType,
    default: Value,
}

impl Setting {
    fn new(key: Key, default: Value) -> Self {
        let kind = match default.kind {
            ValueKind::Boolean(_) => SettingType::Boolean,
            ValueKind::String(_) => SettingType::Text,
            ValueKind::Array(_) => TableType::of(&key).map_or(SettingType::List, SettingType::Tables),
            ValueKind::Table(_) => SettingType::Texts,
            ValueKind::Float(_) => SettingType::Number,
            _ => SettingType::Integer,
        };
        Self { key, kind, default }
    }
}

pub(super) struct Schema {
    settings: Vec<Setting>,
}

impl Schema {
    /// Reads the embedded defaults. A test ensures that this succeeds.
    pub(super) fn read() -> Result<Self, config::ConfigError> {
        let mut settings = Vec::new();
        for (section, table) in defaults().collect()? {
            let ValueKind::Table(table) = table.kind else {
                settings.push(Setting::new(Key::top(&section), table));
                continue;
            };
            if section == "channels" {
                continue;
            }
            for (name, default) in table {
                settings.push(Setting::new(Key::new(&section, &name), default));
            }
        }
        Ok(Self { settings })
    }

    pub(super) fn type_of(&self, key: &Key) -> Option<SettingType> {
        if key.section == "channels" {
            key.kind.as_ref()?;
            return CHANNEL_SETTINGS.iter().find(|(name, _)| *name == key.name).map(|(_, kind)| *kind);
        }
        self.settings.iter().find(|setting| setting.key == *key).map(|setting| setting.kind)
    }

    /// The default of a string setting, as an example.
    pub(super) fn example(&self, key: &Key) -> Option<String> {
        let setting = self.settings.iter().find(|setting| setting.key == *key)?;
        setting.default.clone().into_string().ok().filter(|text| !text.is_empty())
    }

    pub(super) fn has_section(&self, section: &str) -> bool {
        section == "channels" || self.settings.iter().any(|setting| setting.key.section == section)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.settings.iter().map(|setting| &setting.key)
    }

    /// The section with the most similar name.
    pub(super) fn nearest_section(&self, name: &str) -> Option<String> {
        let names = self.keys().map(|key| if key.section.is_empty() { &*key.name } else { &*key.section });
        let sections = names.chain(["channels"]);
        nearest(name, sections).map(str::to_owned)
    }

    /// The most similar name in the section, or the same name in another section.
    pub(super) fn nearest_key(&self, key: &Key) -> Option<String> {
        if key.section == "channels" {
            return nearest(&key.name, CHANNEL_SETTINGS.iter().map(|(name, _)| *name)).map(str::to_owned);
        }
        let here = self.keys().filter(|other| other.section == key.section).map(|other| other.name.as_str());
        if let Some(name) = nearest(&key.name, here) {
            return Some(name.to_owned());
        }
        self.keys().find(|other| other.name == key.name).map(ToString::to_string)
    }
}

pub(super) fn defaults() -> File<config::FileSourceString, FileFormat> {
    File::from_str(DEFAULTS, FileFormat::Toml)
}

/// The most similar candidate, if it is similar enough for `name` to be a typo.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The tables of a layer, as the `config` crate merges them.
pub(super) type Tables = Map<String, Value>;
