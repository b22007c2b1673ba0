use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::json;

/// A user's id, as the application signed it: a whole number or a text, and it stays what it is on every wire.
///
/// The number 7 and the text "7" are one user: a route parameter or a form field of PHP is a text, also where the
/// token has a number. Cloning allocates nothing.
#[derive(Clone)]
pub struct UserId(Form);

#[derive(Clone)]
enum Form {
    Number(i64),
    Text(Arc<str>),
}

/// Why a text is no user's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a user's id is a whole number or a text of 1 to {} bytes", UserId::MAX_BYTES)]
pub struct InvalidUserId;

impl UserId {
    /// The longest text, in bytes of UTF-8: a UUID has 36.
    pub const MAX_BYTES: usize = 64;

    /// An id that is a text on the wire, also where it spells a number.
    pub fn text(text: &str) -> Result<Self, InvalidUserId> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidUserId);
        }
        Ok(Self(Form::Text(text.into())))
    }

    /// Reads the text of a JSON value: an integer, or a string.
    pub fn from_json(value: &str) -> Result<Self, InvalidUserId> {
        if value.starts_with('"') {
            return Self::text(&json::string(value).ok_or(InvalidUserId)?);
        }
        // One number has one text: no -0.
        spelled(value).map(Self::from).ok_or(InvalidUserId)
    }

    /// The number that the id is or spells: two users are the same if and only if this is the same, or both have
    /// none and are the same text.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match &self.0 {
            Form::Number(number) => Some(*number),
            Form::Text(text) => spelled(text),
        }
    }

    /// The id as it is on the wire, for a log that keeps the two forms apart.
    pub fn form(&self) -> Result<i64, &str> {
        match &self.0 {
            Form::Number(number) => Ok(*number),
            Form::Text(text) => Err(text),
        }
    }

    /// Gives `write` the id as JSON: with quotes where it is a text.
    pub fn with_json<T>(&self, write: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Form::Number(number) => write(itoa::Buffer::new().format(*number)),
            Form::Text(text) => write(&json::quoted(text)),
        }
    }
}

/// The number that a text is the one spelling of.
fn spelled(text: &str) -> Option<i64> {
    let number = text.parse().ok()?;
    (itoa::Buffer::new().format(number) == text).then_some(number)
}

impl From<i64> for UserId {
    fn from(number: i64) -> Self {
        Self(Form::Number(number))
    }
}

/// As a person writes it, on a command line: what spells a number is one.
impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        spelled(text).map_or_else(|| Self::text(text), |number| Ok(number.into()))
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

/// For people: a text is quoted, with its special characters escaped.
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

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = UserId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&InvalidUserId, f)
            }

            fn visit_i64<E>(self, number: i64) -> Result<UserId, E> {
                Ok(number.into())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<UserId, E> {
                i64::try_from(number).map(UserId::from).map_err(|_| E::custom(InvalidUserId))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UserId, E> {
                UserId::text(text).map_err(E::custom)
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
    fn it_stays_what_it_is() {
        for json in ["7", "-9223372036854775808", "\"7\"", &format!("{UUID:?}"), r#""山\"""#] {
            let id: UserId = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
            assert_eq!(UserId::from_json(json).unwrap().with_json(str::to_owned), json);
        }
        let longest = "x".repeat(64);
        assert_eq!(UserId::text(&longest).unwrap().to_string(), format!("{longest:?}"));
    }

    #[test]
    fn what_is_no_id() {
        let long = format!("\"{}\"", "x".repeat(65));
        for json in ["\"\"", &long, "7.0", "1e3", "-0", "null", "true", "[]", "{}", "9223372036854775808"] {
            assert!(serde_json::from_str::<UserId>(json).is_err(), "{json}");
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
    fn on_a_command_line_digits_are_a_number() {
        assert_eq!("7".parse::<UserId>().unwrap().form(), Ok(7));
        assert_eq!("-7".parse::<UserId>().unwrap().form(), Ok(-7));
        assert_eq!("007".parse::<UserId>().unwrap().form(), Err("007"));
        assert_eq!(UUID.parse::<UserId>().unwrap().form(), Err(UUID));
        assert_eq!("".parse::<UserId>(), Err(InvalidUserId));
    }

    #[test]
    fn what_a_log_shows_cannot_be_taken_for_another_field() {
        assert_eq!(
            UserId::text("a ip=1.2.3.4\n\u{2028}").unwrap().to_string(),
            "\"a ip=1.2.3.4\\n\\u{2028}\""
        );
    }

    #[test]
    fn a_senders_size() {
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
