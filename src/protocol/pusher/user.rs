use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::json;

/// A user's id, as the application signed it: a text, or a whole number that stays one on every wire.
///
/// The number 7 and the text "7" are one user: browsers keep members under the text.
#[derive(Debug, Clone)]
pub struct UserId {
    text: Arc<str>,
    is_number: bool,
}

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub user_id: UserId,
    /// What the application says of the user: the text of a JSON value, as it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Arc<str>>,
}

/// A user that a connection is signed in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub id: UserId,
    /// What the application signed, to the letter.
    pub data: Arc<str>,
    /// The users whose coming and going it wants to hear of.
    pub watchlist: Vec<UserId>,
}

/// What is wrong with what the application signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidUser {
    /// It is not the text of a JSON object.
    #[error("it must be the text of a JSON object")]
    NotAnObject,
    /// The id is missing or of another type.
    #[error("its {0} must be a text that is not empty, or a whole number")]
    Id(&'static str),
    /// The watchlist is not a list of ids.
    #[error("its watchlist must be a list of at most {max} user ids", max = User::MAX_WATCHLIST)]
    Watchlist,
}

impl UserId {
    /// An id that is a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), is_number: false }
    }

    /// The id without regard to its type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id as JSON: with quotes where it is a text.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.is_number { self.text.to_string() } else { json::quoted(&self.text) }
    }

    fn from_json(value: &str) -> Option<Self> {
        if let Some(text) = json::string(value) {
            return (!text.is_empty()).then(|| Self::new(&text));
        }
        // No fraction, no exponent and no -0: one number has one text.
        let digits = value.strip_prefix('-').unwrap_or(value);
        let is_integer =
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && value != "-0";
        is_integer.then(|| Self { text: value.into(), is_number: true })
    }
}

impl PartialEq for UserId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for UserId {}

impl Hash for UserId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_number {
            let raw = RawValue::from_string(self.text.to_string()).map_err(serde::ser::Error::custom)?;
            return raw.serialize(serializer);
        }
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(raw.get()).ok_or_else(|| serde::de::Error::custom(InvalidUser::Id("user_id")))
    }
}

impl Member {
    /// Reads `channel_data`: `{user_id, user_info?}`.
    pub fn parse(channel_data: &str) -> Result<Self, InvalidUser> {
        let [id, info] =
            json::members(channel_data, ["user_id", "user_info"]).map_err(|_| InvalidUser::NotAnObject)?;
        let user_id = id.and_then(UserId::from_json).ok_or(InvalidUser::Id("user_id"))?;
        Ok(Self { user_id, user_info: info.map(Arc::from) })
    }

    /// How long its texts are.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.user_id.as_str().len() + self.user_info.as_ref().map_or(0, |info| info.len())
    }
}

impl User {
    /// The longest watchlist.
    pub const MAX_WATCHLIST: usize = 100;

    /// Reads `user_data`: `{id, watchlist?, …}`.
    pub fn parse(user_data: &str) -> Result<Self, InvalidUser> {
        let [id, watchlist] =
            json::members(user_data, ["id", "watchlist"]).map_err(|_| InvalidUser::NotAnObject)?;
        let id = id.and_then(UserId::from_json).ok_or(InvalidUser::Id("id"))?;
        let watchlist: Vec<UserId> = match watchlist {
            Some(list) => serde_json::from_str(list).map_err(|_| InvalidUser::Watchlist)?,
            None => Vec::new(),
        };
        if watchlist.len() > Self::MAX_WATCHLIST {
            return Err(InvalidUser::Watchlist);
        }
        Ok(Self { id, data: user_data.into(), watchlist })
    }

    /// The user on a presence channel for which the application signed no `channel_data`.
    #[must_use]
    pub fn member(&self) -> Member {
        let info = json::members(&self.data, ["user_info"]).ok().and_then(|[info]| info);
        Member { user_id: self.id.clone(), user_info: info.map(Arc::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_a_number() {
        let member =
            Member::parse(r#"{"user_id":12345678901234567890123,"user_info":{"n": [1.0]}}"#).unwrap();
        assert_eq!(member.user_id.to_json(), "12345678901234567890123");
        assert_eq!(member.user_info.as_deref(), Some(r#"{"n": [1.0]}"#));
        assert_eq!(Member::parse(r#"{"user_id":"a\"b"}"#).unwrap().user_id.to_json(), r#""a\"b""#);
        assert_eq!(Member::parse(r#"{"user_id":-7,"user_info":null}"#).unwrap().user_info, None);
        assert_eq!(UserId::from_json("7"), UserId::from_json("\"7\""));
    }

    #[test]
    fn what_is_no_member() {
        for id in ["\"\"", "7.0", "1e3", "-0", "-", "true", "[]", "{}", "null"] {
            let data = format!(r#"{{"user_id":{id}}}"#);
            assert!(Member::parse(&data).is_err(), "{id}");
        }
        assert_eq!(Member::parse("{}"), Err(InvalidUser::Id("user_id")));
        for data in ["", "7", "[]", "null", "\"{}\"", r#"{"user_id":1"#] {
            assert_eq!(Member::parse(data), Err(InvalidUser::NotAnObject), "{data}");
        }
    }

    #[test]
    fn users() {
        let user = User::parse(r#"{"id":"a","user_info":{},"watchlist":["b",7]}"#).unwrap();
        assert_eq!(user.watchlist, [UserId::new("b"), UserId::new("7")]);
        assert_eq!(user.member(), Member { user_id: UserId::new("a"), user_info: Some("{}".into()) });
        assert_eq!(User::parse(r#"{"user_id":"a"}"#), Err(InvalidUser::Id("id")));
        for list in ["7", "[{}]", "{}", "[\"\"]"] {
            let data = format!(r#"{{"id":"a","watchlist":{list}}}"#);
            assert_eq!(User::parse(&data), Err(InvalidUser::Watchlist), "{list}");
        }
        let long = format!(r#"{{"id":"a","watchlist":{:?}}}"#, vec!["x"; 101]);
        assert_eq!(User::parse(&long), Err(InvalidUser::Watchlist));
    }

    #[test]
    fn between_nodes() {
        for text in [r#"{"user_id":7,"user_info":"{\"a\":1}"}"#, r#"{"user_id":"7"}"#] {
            let member: Member = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&member).unwrap(), text);
        }
    }
}
