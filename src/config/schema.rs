//! Which settings there are and of which type: what `config/default.toml` says, and the tables that repeat.

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::Key;
use super::repeated::Repeated;

/// The defaults, and the documentation of every setting.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What may be set in each `[channels.KIND]`.
const OF_CHANNELS: [(&str, Type); 3] =
    [("fields", Type::List), ("targeting", Type::Boolean), ("client_send", Type::Boolean)];

/// The type of a setting is the type of its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Integer,
    Text,
    List,
    /// A table of texts.
    Texts,
    Tables(Repeated),
}

/// A setting that is not a repeated one.
struct Setting {
    key: Key,
    kind: Type,
    default: Value,
}

impl Setting {
    fn new(key: Key, default: Value) -> Self {
        let kind = match default.kind {
            ValueKind::Boolean(_) => Type::Boolean,
            ValueKind::String(_) => Type::Text,
            ValueKind::Array(_) => Repeated::of(&key).map_or(Type::List, Type::Tables),
            _ => Type::Integer,
        };
        Self { key, kind, default }
    }
}

/// All settings.
pub(super) struct Schema {
    settings: Vec<Setting>,
}

impl Schema {
    /// Reads the embedded defaults. That they are sound is tested.
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

    pub(super) fn type_of(&self, key: &Key) -> Option<Type> {
        if key.section == "channels" {
            key.kind.as_ref()?;
            return OF_CHANNELS.iter().find(|(name, _)| *name == key.name).map(|(_, kind)| *kind);
        }
        self.settings.iter().find(|setting| setting.key == *key).map(|setting| setting.kind)
    }

    /// The default of a text setting, as an example of what may be written there.
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

    /// The section that was probably meant.
    pub(super) fn nearest_section(&self, name: &str) -> Option<String> {
        let names = self.keys().map(|key| if key.section.is_empty() { &*key.name } else { &*key.section });
        let sections = names.chain(["channels"]);
        nearest(name, sections).map(str::to_owned)
    }

    /// The name in a section that was probably meant, or the same name in another section.
    pub(super) fn nearest_key(&self, key: &Key) -> Option<String> {
        if key.section == "channels" {
            return nearest(&key.name, OF_CHANNELS.iter().map(|(name, _)| *name)).map(str::to_owned);
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

/// The candidate that a slip of the finger could have turned into `name`.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The tables of a layer as a map of maps, as the `config` crate merges them.
pub(super) type Tables = Map<String, Value>;
