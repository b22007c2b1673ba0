use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::message::{Member, UserId, json};

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

/// Reads a user ID. The application may sign a number of any length, and its digits are the ID: Pusher documents a text,
/// and some of its SDKs cannot read anything else.
pub(super) fn parse_user_id(json: &str) -> Option<UserId> {
    if let Some(text) = json::string(json) {
        return (!text.is_empty()).then(|| UserId::new(&text));
    }
    // No fraction, no exponent and no -0: each number has one spelling.
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
    /// How many users a connection watches at most. Of a longer list the first ones count.
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
        let is_watchlist_cut = watchlist.len() > Self::MAX_WATCHLIST;
        watchlist.truncate(Self::MAX_WATCHLIST);
        watchlist.shrink_to_fit();
        let data = if json_id.starts_with('"') { user_data.into() } else { with_text_id(user_data, json_id) };
        Ok(Self { id, data, watchlist, is_watchlist_cut })
    }

    /// The user on a presence channel for which the application signed no `channel_data`.
    #[must_use]
    pub fn member(&self) -> Member {
        let info = json::members_not_null(&self.data, ["user_info"]).ok().and_then(|[info]| info);
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
        let member = parse_member(r#"{"user_id":12345678901234567890123,"user_info":{"n": [1.0]}}"#).unwrap();
        assert_eq!(member.user_id.to_json_string(), r#""12345678901234567890123""#);
        assert_eq!(member.user_info.as_deref(), Some(r#"{"n": [1.0]}"#));
        assert_eq!(parse_member(r#"{"user_id":"a\"b"}"#).unwrap().user_id.to_json_string(), r#""a\"b""#);
        assert_eq!(parse_member(r#"{"user_id":-7,"user_info":null}"#).unwrap().user_info, None);
        assert_eq!(parse_user_id("7"), parse_user_id("\"7\""));
    }

    #[test]
    fn what_is_no_member() {
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
}
