use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::message::{Member, UserId, json};

/// The user of a signed-in connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// `user_data` exactly as the application signed it, except that a numeric `id` is quoted.
    pub data: Arc<str>,
    /// The users whose online status the connection receives: at most [`MAX_WATCHLIST`](Self::MAX_WATCHLIST), without
    /// duplicates.
    pub watchlist: Vec<UserId>,
    /// Whether the signed list was longer than [`MAX_WATCHLIST`](Self::MAX_WATCHLIST).
    pub is_watchlist_truncated: bool,
}

/// Why `user_data` or `channel_data` is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidUser {
    #[error("it must be the text of a JSON object")]
    NotAnObject,
    /// The ID is missing or has the wrong type. Contains the name of its key.
    #[error("its {0} must be a text that is not empty, or a whole number")]
    Id(&'static str),
    #[error("its watchlist must be a list of user ids")]
    Watchlist,
}

/// Reads a user ID. An integer of any length becomes the string of its digits, because Pusher documents IDs as strings and
/// some of its SDKs accept nothing else.
pub(super) fn parse_user_id(json: &str) -> Option<UserId> {
    if let Some(text) = json::string(json) {
        return (!text.is_empty()).then(|| UserId::new(&text));
    }
    // Rejects fractions, exponents and -0, so that each number has one spelling.
    let digits = json.strip_prefix('-').unwrap_or(json);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && json != "-0";
    is_integer.then(|| UserId::new(json))
}

/// Reads `channel_data`: `{user_id, user_info?}`.
pub fn parse_member(channel_data: &str) -> Result<Member, InvalidUser> {
    let [id, info] = json::members_not_null(channel_data, ["user_id", "user_info"])
        .map_err(|_| InvalidUser::NotAnObject)?;
    let user_id = id.and_then(parse_user_id).ok_or(InvalidUser::Id("user_id"))?;
    Ok(Member { user_id, user_info: info.map(Arc::from) })
}

impl User {
    /// The maximum number of users that a connection watches. A longer list is truncated.
    pub const MAX_WATCHLIST: usize = 100;

    /// Reads `user_data`: `{id, watchlist?, …}`.
    pub fn parse(user_data: &str) -> Result<Self, InvalidUser> {
        let [id, watchlist] =
            json::members_not_null(user_data, ["id", "watchlist"]).map_err(|_| InvalidUser::NotAnObject)?;
        let json_id = id.ok_or(InvalidUser::Id("id"))?;
        let id = parse_user_id(json_id).ok_or(InvalidUser::Id("id"))?;
        let watchlist: Vec<&RawValue> = match watchlist {
            Some(list) => serde_json::from_str(list).map_err(|_| InvalidUser::Watchlist)?,
            None => Vec::new(),
        };
        let ids = watchlist.iter().map(|id| parse_user_id(id.get()).ok_or(InvalidUser::Watchlist));
        let mut watchlist = ids.collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        watchlist.retain(|user| seen.insert(user.clone()));
        let is_watchlist_truncated = watchlist.len() > Self::MAX_WATCHLIST;
        watchlist.truncate(Self::MAX_WATCHLIST);
        watchlist.shrink_to_fit();
        let data = if json_id.starts_with('"') { user_data.into() } else { with_text_id(user_data, json_id) };
        Ok(Self { id, data, watchlist, is_watchlist_truncated })
    }

    /// The user as the member of a presence channel for which the application signed no `channel_data`.
    #[must_use]
    pub fn member(&self) -> Member {
        let info = json::members_not_null(&self.data, ["user_info"]).ok().and_then(|[info]| info);
        Member { user_id: self.id.clone(), user_info: info.map(Arc::from) }
    }
}

/// Quotes the numeric ID in `user_data`, because pusher-js aborts a sign-in whose ID is not a string. `id` must be a slice of
/// `user_data`.
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
    fn numeric_ids_become_strings() {
        let member = parse_member(r#"{"user_id":12345678901234567890123,"user_info":{"n": [1.0]}}"#).unwrap();
        assert_eq!(member.user_id.to_json_string(), r#""12345678901234567890123""#);
        assert_eq!(member.user_info.as_deref(), Some(r#"{"n": [1.0]}"#));
        assert_eq!(parse_member(r#"{"user_id":"a\"b"}"#).unwrap().user_id.to_json_string(), r#""a\"b""#);
        assert_eq!(parse_member(r#"{"user_id":-7,"user_info":null}"#).unwrap().user_info, None);
        assert_eq!(parse_user_id("7"), parse_user_id("\"7\""));
    }

    #[test]
    fn invalid_members_are_rejected() {
        for id in ["\"\"", "7.0", "1e3", "-0", "-", "true", "[]", "{}", "null"] {
            let data = format!(r#"{{"user_id":{id}}}"#);
            assert!(parse_member(&data).is_err(), "{id}");
        }
        assert_eq!(parse_member("{}"), Err(InvalidUser::Id("user_id")));
        for data in ["", "7", "[]", "null", "\"{}\"", r#"{"user_id":1"#] {
            assert_eq!(parse_member(data), Err(InvalidUser::NotAnObject), "{data}");
        }
    }

    #[test]
    fn users_are_parsed() {
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
    fn a_long_watchlist_is_truncated() {
        let ids = |count: usize| (0..count).map(|id| format!("u{id}")).collect::<Vec<_>>();
        let read = |ids: &[String]| User::parse(&format!(r#"{{"id":"a","watchlist":{ids:?}}}"#)).unwrap();
        let whole = read(&ids(100));
        assert_eq!((whole.watchlist.len(), whole.is_watchlist_truncated), (100, false));
        let long = read(&ids(150));
        assert_eq!((&long.watchlist, long.is_watchlist_truncated), (&whole.watchlist, true));
        // Duplicates do not count towards the limit.
        let twice = read(&[ids(100), ids(100)].concat());
        assert_eq!((&twice.watchlist, twice.is_watchlist_truncated), (&whole.watchlist, false));
    }

    #[test]
    fn a_numeric_id_is_quoted_in_user_data() {
        let data = |text: &str| User::parse(text).unwrap().data.to_string();
        assert_eq!(data(r#"{"n": 7, "id" : 7 ,"x":{"id":7}}"#), r#"{"n": 7, "id" : "7" ,"x":{"id":7}}"#);
        assert_eq!(data(r#"{"id":1,"id":-22}"#), r#"{"id":1,"id":"-22"}"#);
        assert_eq!(data(r#"{"id":"7"}"#), r#"{"id":"7"}"#);
    }
}
