use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::json;

/// The ID of a user, as the application signed it.
///
/// An ID is a text. An application may write one that spells an integer as a JSON number, and the native protocol gives it
/// back in that form; the number 7 and the text "7" are the same user. In the Pusher protocol, IDs are always texts.
/// Cloning does not allocate.
#[derive(Clone)]
pub struct UserId(Form);

/// A number is kept as such because that is its form on the wire, and because it needs no allocation.
#[derive(Clone)]
enum Form {
    Number(i64),
    Text(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a user's id is a whole number or a text of 1 to {} bytes", UserId::MAX_BYTES)]
pub struct InvalidUserId;

impl UserId {
    /// The longest text that the native protocol accepts, in bytes of UTF-8. A UUID has 36.
    pub const MAX_BYTES: usize = 64;

    /// An ID that is a text on the wire, even if it spells a number. Its length is up to the caller.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Form::Text(text.into()))
    }

    /// An ID that is a text on the wire, of 1 to [`MAX_BYTES`](Self::MAX_BYTES) bytes.
    pub fn text(text: &str) -> Result<Self, InvalidUserId> {
        Self::new(text).check()
    }

    /// Reads the text of a JSON value: an integer, or a string of 1 to [`MAX_BYTES`](Self::MAX_BYTES) bytes.
    pub fn from_json(value: &str) -> Result<Self, InvalidUserId> {
        if value.starts_with('"') {
            return Self::text(&json::string(value).ok_or(InvalidUserId)?);
        }
        // Each number has one spelling, which excludes -0.
        integer(value).map(Self::from).ok_or(InvalidUserId)
    }

    /// Deserializes an ID within the bounds of the native protocol: for `#[serde(deserialize_with)]` where input is not trusted.
    pub fn deserialize_bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)?.check().map_err(de::Error::custom)
    }

    fn check(self) -> Result<Self, InvalidUserId> {
        match &self.0 {
            Form::Text(text) if text.is_empty() || text.len() > Self::MAX_BYTES => Err(InvalidUserId),
            _ => Ok(self),
        }
    }

    /// The text of the ID.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Number(number) => Cow::Owned(number.to_string()),
            Form::Text(text) => Cow::Borrowed(text),
        }
    }

    /// The number that the ID is or spells. IDs are equal if and only if both have the same number, or neither has
    /// one and the texts are equal.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match &self.0 {
            Form::Number(number) => Some(*number),
            Form::Text(text) => integer(text),
        }
    }

    /// The ID in its form on the wire, for logs that keep the two forms apart.
    pub fn form(&self) -> Result<i64, &str> {
        match &self.0 {
            Form::Number(number) => Ok(*number),
            Form::Text(text) => Err(text),
        }
    }

    /// Calls `write` with the ID as JSON, in its form on the wire.
    pub fn with_json<T>(&self, write: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Form::Number(number) => write(itoa::Buffer::new().format(*number)),
            Form::Text(text) => write(&json::quoted(text)),
        }
    }

    /// The ID as a JSON string, also if it is a number on the native wire.
    #[must_use]
    pub fn to_json_string(&self) -> String {
        json::quoted(&self.to_text())
    }
}

/// The integer of which a text is the canonical spelling.
fn integer(text: &str) -> Option<i64> {
    let number = text.parse().ok()?;
    (itoa::Buffer::new().format(number) == text).then_some(number)
}

impl From<i64> for UserId {
    fn from(number: i64) -> Self {
        Self(Form::Number(number))
    }
}

/// Reads an ID from a command line, where a text that spells an integer is a number.
impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        integer(text).map_or_else(|| Self::text(text), |number| Ok(number.into()))
    }
}

impl PartialEq for UserId {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Number(one), Form::Number(other)) => one == other,
            (Form::Text(one), Form::Text(other)) => one == other,
            _ => self.number() == other.number(),
        }
    }
}

impl Eq for UserId {}

impl Hash for UserId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.number(), &self.0) {
            (None, Form::Text(text)) => text.hash(state),
            (number, _) => number.hash(state),
        }
    }
}

/// For logs and errors: a text is quoted and escaped.
impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Number(number) => number.fmt(f),
            Form::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Number(number) => serializer.serialize_i64(*number),
            Form::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Does not bound the length of a text: [`UserId::deserialize_bounded`] does.
impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = UserId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number or a text of 1 to {} bytes", UserId::MAX_BYTES)
            }

            fn visit_i64<E>(self, number: i64) -> Result<UserId, E> {
                Ok(number.into())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<UserId, E> {
                i64::try_from(number).map(UserId::from).map_err(|_| E::custom(InvalidUserId))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UserId, E> {
                if text.is_empty() { Err(E::custom(InvalidUserId)) } else { Ok(UserId::new(text)) }
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11";

    #[test]
    fn an_id_keeps_its_form_on_the_wire() {
        for json in ["7", "-9223372036854775808", "\"7\"", &format!("{UUID:?}"), r#""山\"""#] {
            let id: UserId = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
            assert_eq!(UserId::from_json(json).unwrap().with_json(str::to_owned), json);
        }
        let longest = "x".repeat(64);
        assert_eq!(UserId::text(&longest).unwrap().to_string(), format!("{longest:?}"));
    }

    #[test]
    fn other_json_values_are_not_ids() {
        let long = format!("\"{}\"", "x".repeat(65));
        for json in ["\"\"", &long, "7.0", "1e3", "-0", "null", "true", "[]", "{}", "9223372036854775808"] {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            assert!(UserId::deserialize_bounded(&mut deserializer).is_err(), "{json}");
            assert!(UserId::from_json(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_number_and_its_text_are_one_user() {
        let id = |json: &str| UserId::from_json(json).unwrap();
        assert_eq!(id("7"), id("\"7\""));
        assert_eq!(id("-7"), id("\"-7\""));
        for other in ["\"07\"", "\"+7\"", "\" 7\"", "\"7.0\"", "8", "\"8\""] {
            assert_ne!(id("7"), id(other), "{other}");
            assert_ne!(id("\"7\""), id(other), "{other}");
        }
        assert_ne!(id("0"), id("\"-0\""));
    }

    #[test]
    fn the_text_of_a_number_is_its_digits() {
        assert_eq!(UserId::from(-7).to_text(), "-7");
        assert_eq!(UserId::from(7).to_json_string(), "\"7\"");
        assert_eq!(UserId::new("a\"b").to_json_string(), r#""a\"b""#);
    }

    #[test]
    fn only_the_native_protocol_bounds_the_length() {
        let long = "x".repeat(65);
        let json = format!("{long:?}");
        assert_eq!(serde_json::from_str::<UserId>(&json).unwrap(), UserId::new(&long));
        assert!(serde_json::from_str::<UserId>("\"\"").is_err());
        assert_eq!(UserId::text(&long), Err(InvalidUserId));
    }

    #[test]
    fn digits_on_a_command_line_are_a_number() {
        assert_eq!("7".parse::<UserId>().unwrap().form(), Ok(7));
        assert_eq!("-7".parse::<UserId>().unwrap().form(), Ok(-7));
        assert_eq!("007".parse::<UserId>().unwrap().form(), Err("007"));
        assert_eq!(UUID.parse::<UserId>().unwrap().form(), Err(UUID));
        assert_eq!("".parse::<UserId>(), Err(InvalidUserId));
    }

    #[test]
    fn a_displayed_id_cannot_be_mistaken_for_another_field() {
        assert_eq!(
            UserId::text("a ip=1.2.3.4\n\u{2028}").unwrap().to_string(),
            "\"a ip=1.2.3.4\\n\\u{2028}\""
        );
    }

    #[test]
    fn an_id_has_16_bytes() {
        assert_eq!(size_of::<UserId>(), 16);
    }

    proptest! {
        #[test]
        fn equal_ids_have_equal_hashes(number in -20i64..20, text in "[-+0-9]{1,3}") {
            let state = RandomState::new();
            let (number, text) = (UserId::from(number), UserId::text(&text).unwrap());
            prop_assert!(number != text || state.hash_one(&number) == state.hash_one(&text));
            let spelled = UserId::text(&number.to_string()).unwrap();
            prop_assert_eq!(&spelled, &number);
            prop_assert_eq!(state.hash_one(&spelled), state.hash_one(&number));
        }
    }
}
