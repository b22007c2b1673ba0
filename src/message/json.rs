//! Reads and writes JSON without parsing the values inside: their depth costs no stack, and their text does not change.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2_iter;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The texts of the values of these keys in an object, the last one if a key is there several times, like `JSON.parse`.
pub fn members<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(Members(names))?;
    json.end()?;
    Ok(found.map(|value| value.map(RawValue::get)))
}

/// Like [`members`], but `null` counts as absent.
pub fn members_not_null<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], serde_json::Error> {
    let found = members(text, names)?;
    Ok(found.map(|value| value.filter(|text| *text != "null")))
}

/// The text of an object that is there itself or inside a string, because clients of the Pusher protocol write `data` in both
/// forms. Does not check that the text is valid.
#[must_use]
pub fn object_or_string(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('{') { Some(Cow::Borrowed(value)) } else { string(value) }
}

/// The text of a JSON string; `None` for other values.
#[must_use]
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value).ok().map(|text| text.0)
}

/// A text as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    // A string can always be written as JSON.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into())
}

/// Appends a text as a JSON string.
pub fn write_quoted(text: &str, to: &mut Vec<u8>) {
    // A string can always be written as JSON, and to memory.
    let _ = serde_json::to_writer(to, text);
}

/// Whether arrays and objects are nested in more levels than this. `json` must be valid.
#[must_use]
pub fn is_deeper_than(json: &[u8], levels: usize) -> bool {
    // Hardly any text has that many brackets, nested or not.
    memchr2_iter(b'[', b'{', json).nth(levels).is_some() && depth(json) > levels
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Members<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(position) = map.next_key_seed(Position(&self.0))? {
            match position.and_then(|position| found.get_mut(position)) {
                Some(value) => *value = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The position of a key among the names, without keeping the key.
struct Position<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for Position<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Position<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_arrays_and_objects_outside_of_strings() {
        for (json, levels) in
            [("1", 0), ("[]", 1), (r#"{"a":[{}],"b":{}}"#, 3), (r#"["[[\"[[[","\\",[]]"#, 2), ("[],[],[]", 1)]
        {
            assert!(!is_deeper_than(json.as_bytes(), levels), "{json}");
            assert!(levels == 0 || is_deeper_than(json.as_bytes(), levels - 1), "{json}");
        }
    }
}
