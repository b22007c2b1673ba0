use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::json;

/// A user's id. The application may sign a text or a whole number, and a number is its digits from then on: Pusher documents
/// a text, and some of its SDKs cannot read anything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

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
    /// What the application signed, to the letter, but for an id that is a number: here it is a text.
    pub data: Arc<str>,
    /// The users whose coming and going it wants to hear of: [`MAX_WATCHLIST`](Self::MAX_WATCHLIST) at most, each once.
    pub watchlist: Vec<UserId>,
    /// Whether the application named more of them.
    pub is_watchlist_cut: bool,
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
    #[error("its watchlist must be a list of user ids")]
    Watchlist,
}

impl UserId {
    /// Takes the text of an id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as JSON: always a string.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::quoted(&self.0)
    }

    fn from_json(value: &str) -> Option<Self> {
        if let Some(text) = json::string(value) {
            return (!text.is_empty()).then(|| Self::new(&text));
        }
        // No fraction, no exponent and no -0: one number has one text.
        let digits = value.strip_prefix('-').unwrap_or(value);
        let is_integer =
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && value != "-0";
        is_integer.then(|| Self::new(value))
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
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
    /// How many users a connection watches at most. Of a longer list the first ones count.
    pub const MAX_WATCHLIST: usize = 100;

    /// Reads `user_data`: `{id, watchlist?, …}`.
    pub fn parse(user_data: &str) -> Result<Self, InvalidUser> {
        let [id, watchlist] =
            json::members(user_data, ["id", "watchlist"]).map_err(|_| InvalidUser::NotAnObject)?;
        let json_id = id.ok_or(InvalidUser::Id("id"))?;
        let id = UserId::from_json(json_id).ok_or(InvalidUser::Id("id"))?;
        let mut watchlist: Vec<UserId> = match watchlist {
            Some(list) => serde_json::from_str(list).map_err(|_| InvalidUser::Watchlist)?,
            None => Vec::new(),
        };
        let mut seen = HashSet::new();
        watchlist.retain(|user| seen.insert(user.clone()));
        let is_watchlist_cut = watchlist.len() > Self::MAX_WATCHLIST;
        watchlist.truncate(Self::MAX_WATCHLIST);
        watchlist.shrink_to_fit();
        let data = if json_id.starts_with('"') { user_data.into() } else { with_text_id(user_data, json_id) };
        Ok(Self { id, data, watchlist, is_watchlist_cut })
    }

    /// The user on a presence channel for which the application signed no `channel_data`.
    #[must_use]
    pub fn member(&self) -> Member {
        let info = json::members(&self.data, ["user_info"]).ok().and_then(|[info]| info);
        Member { user_id: self.id.clone(), user_info: info.map(Arc::from) }
    }
}

/// `user_data` with quotes around its id, which is a number and a part of that text. pusher-js gives up a sign-in whose id
/// is no text.
fn with_text_id(user_data: &str, id: &str) -> Arc<str> {
    let start = id.as_ptr().addr().wrapping_sub(user_data.as_ptr().addr());
    let parts =
        user_data.split_at_checked(start).and_then(|(before, rest)| Some((before, rest.strip_prefix(id)?)));
    parts.map_or_else(|| user_data.into(), |(before, after)| format!("{before}\"{id}\"{after}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_text_also_if_it_was_signed_as_a_number() {
        let member =
            Member::parse(r#"{"user_id":12345678901234567890123,"user_info":{"n": [1.0]}}"#).unwrap();
        assert_eq!(member.user_id.to_json(), r#""12345678901234567890123""#);
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
    }

    #[test]
    fn a_long_watchlist_is_cut() {
        let ids = |count: usize| (0..count).map(|id| format!("u{id}")).collect::<Vec<_>>();
        let read = |ids: &[String]| User::parse(&format!(r#"{{"id":"a","watchlist":{ids:?}}}"#)).unwrap();
        let whole = read(&ids(100));
        assert_eq!((whole.watchlist.len(), whole.is_watchlist_cut), (100, false));
        let long = read(&ids(150));
        assert_eq!((&long.watchlist, long.is_watchlist_cut), (&whole.watchlist, true));
        // Each user counts once.
        let twice = read(&[ids(100), ids(100)].concat());
        assert_eq!((&twice.watchlist, twice.is_watchlist_cut), (&whole.watchlist, false));
    }

    #[test]
    fn pusher_js_signs_in_only_with_an_id_that_is_a_text() {
        let data = |text: &str| User::parse(text).unwrap().data.to_string();
        assert_eq!(data(r#"{"n": 7, "id" : 7 ,"x":{"id":7}}"#), r#"{"n": 7, "id" : "7" ,"x":{"id":7}}"#);
        assert_eq!(data(r#"{"id":1,"id":-22}"#), r#"{"id":1,"id":"-22"}"#);
        assert_eq!(data(r#"{"id":"7"}"#), r#"{"id":"7"}"#);
    }

    #[test]
    fn between_nodes() {
        for (read, written) in [
            (r#"{"user_id":7,"user_info":"{\"a\":1}"}"#, r#"{"user_id":"7","user_info":"{\"a\":1}"}"#),
            (r#"{"user_id":"7"}"#, r#"{"user_id":"7"}"#),
        ] {
            let member: Member = serde_json::from_str(read).unwrap();
            assert_eq!(serde_json::to_string(&member).unwrap(), written);
        }
    }
}
