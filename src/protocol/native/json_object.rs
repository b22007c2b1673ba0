use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::message::json::string;

/// The fields of a JSON object, as they were written.
#[derive(Debug)]
pub(super) struct JsonObject<'a>(Vec<JsonField<'a>>);

/// A key with its value, both as JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonField<'a> {
    key: &'a str,
    /// The key without its quotes, unless it has escapes.
    plain_key: Option<&'a str>,
    pub(super) value: &'a str,
}

impl<'a> JsonObject<'a> {
    /// Returns `None` if the text is not an object.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        // The whole text is checked at once, because UTF-8 is checked faster so than value by value.
        serde_json::from_str(std::str::from_utf8(text).ok()?).ok()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = JsonField<'a>> {
        self.0.iter().copied()
    }
}

impl<'a> JsonField<'a> {
    fn new(key: &'a str, value: &'a str) -> Self {
        let inner = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        Self { key, plain_key: inner.filter(|key| !key.contains('\\')), value }
    }

    /// Whether this is the key, escaped or not.
    pub(super) fn is(&self, name: &str) -> bool {
        match self.plain_key {
            Some(key) => key == name,
            None => string(self.key).is_some_and(|key| key == name),
        }
    }

    /// The key without escapes.
    pub(super) fn name(&self) -> Cow<'_, str> {
        string(self.key).unwrap_or(Cow::Borrowed(self.key))
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.key.as_bytes());
        to.push(b':');
        to.extend_from_slice(self.value.as_bytes());
    }
}

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    fields.push(JsonField::new(key.get(), value.get()));
                }
                Ok(JsonObject(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
