//! Bodies of successful responses.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Info;
use crate::message::{ChannelInfo, LastEvent, Member, UserId};
use crate::protocol::pusher::Channel;
use crate::protocol::pusher::channel::channel_kind;

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelReport {
    pub subscribers: ChannelInfo,
    /// Of a channel with a history.
    pub position: Option<String>,
}

/// A part of a channel's history.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryReport<'a> {
    /// The oldest first.
    pub messages: Vec<HistoryMessage<'a>>,
    /// Where to go on.
    pub position: String,
    /// There are newer messages than these.
    pub more: bool,
    /// Messages may be missing.
    pub gap: bool,
}

/// A message in the history of a channel.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryMessage<'a> {
    /// Its position.
    pub id: String,
    pub event: &'a str,
    /// What subscribers received as `data`.
    pub data: &'a str,
    /// When it was stored: milliseconds since the Unix epoch.
    pub time: u64,
    /// The member that sent it, if it is a client event on a presence channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a UserId>,
}

/// The requested attributes that apply to the kind of the channel.
fn attributes(about: ChannelReport, name: &str, info: Info) -> Map<String, Value> {
    let mut attributes = Map::new();
    if info.user_count && channel_kind(name).is_presence {
        attributes.insert("user_count".into(), about.subscribers.members.into());
    }
    if info.subscription_count {
        attributes.insert("subscription_count".into(), about.subscribers.subscriptions.into());
    }
    if info.position
        && let Some(position) = about.position
    {
        attributes.insert("position".into(), position.into());
    }
    attributes
}

/// `{}`: the call succeeded and returns no data.
#[must_use]
pub fn empty() -> Vec<u8> {
    b"{}".to_vec()
}

/// The response to `POST events`: the requested attributes of its channels, or `{}` if none were requested.
#[must_use]
pub fn triggered<'a>(found: impl IntoIterator<Item = (&'a Channel, ChannelReport)>, info: Info) -> Vec<u8> {
    if info.is_empty() {
        return empty();
    }
    channels(found.into_iter().map(|(channel, about)| (channel.name().as_str(), about)), info)
}

/// The response to `POST batch_events`: the requested attributes of each event's channel, or `{}` if no event requested any.
#[must_use]
pub fn batch<'a>(found: impl IntoIterator<Item = (&'a Channel, ChannelReport, Info)>) -> Vec<u8> {
    let batch: Vec<_> = found
        .into_iter()
        .map(|(channel, about, info)| attributes(about, channel.name().as_str(), info))
        .collect();
    if batch.iter().all(Map::is_empty) { empty() } else { write(&json!({ "batch": batch })) }
}

/// The response to `GET channels`. `found` holds the channels that have a subscriber.
#[must_use]
pub fn channels<'a>(found: impl IntoIterator<Item = (&'a str, ChannelReport)>, info: Info) -> Vec<u8> {
    let channels: Map<String, Value> = found
        .into_iter()
        .map(|(name, about)| (name.to_owned(), Value::Object(attributes(about, name, info))))
        .collect();
    write(&json!({ "channels": channels }))
}

/// The response to `GET channels/{channel}`. If `cache` was requested and the channel keeps no event, it is `null`.
#[must_use]
pub fn channel(channel: &Channel, about: ChannelReport, cached: Option<&LastEvent>, info: Info) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("occupied".into(), (about.subscribers.subscriptions > 0).into());
    body.extend(attributes(about, channel.name().as_str(), info));
    if info.cache {
        let cached = cached.map(|cached| json!({ "data": cached.data, "ttl": cached.ttl }));
        body.insert("cache".into(), cached.unwrap_or_default());
    }
    write(&body)
}

/// The response to `GET channels/{channel}/users`.
#[must_use]
pub fn users(members: &[Member]) -> Vec<u8> {
    #[derive(Serialize)]
    struct User<'a> {
        id: &'a UserId,
    }
    #[derive(Serialize)]
    struct Users<'a> {
        users: Vec<User<'a>>,
    }
    write(&Users { users: members.iter().map(|member| User { id: &member.user_id }).collect() })
}

/// The response to `GET channels/{channel}/history`.
#[must_use]
pub fn history(found: &HistoryReport<'_>) -> Vec<u8> {
    write(found)
}

/// The response to `GET connections`.
#[must_use]
pub fn connections(count: u64) -> Vec<u8> {
    write(&json!({ "connections": count }))
}

/// The response to `GET /up`.
#[must_use]
pub fn health() -> Vec<u8> {
    write(&json!({ "health": "OK" }))
}

fn write(value: &impl Serialize) -> Vec<u8> {
    // Serializing strings and numbers cannot fail.
    serde_json::to_vec(value).unwrap_or_else(|_| empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::pusher::parse_member;

    #[test]
    fn golden_bodies() {
        let subscribers = ChannelInfo { subscriptions: 3, members: 2 };
        let about = || ChannelReport { subscribers, position: Some("9f-3".into()) };
        let both = Info { user_count: true, subscription_count: true, ..Info::default() };
        let none = Info::default();
        let (room, news) = (Channel::new("presence-a", 200).unwrap(), Channel::new("news", 200).unwrap());
        let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
        assert_eq!(text(triggered([(&news, about())], none)), "{}");
        assert_eq!(
            text(triggered([(&news, about()), (&room, about())], both)),
            r#"{"channels":{"news":{"subscription_count":3},"presence-a":{"subscription_count":3,"user_count":2}}}"#
        );
        assert_eq!(text(batch([(&news, about(), none), (&room, about(), none)])), "{}");
        assert_eq!(
            text(batch([(&news, about(), none), (&room, about(), both)])),
            r#"{"batch":[{},{"subscription_count":3,"user_count":2}]}"#
        );
        assert_eq!(text(channels([], both)), r#"{"channels":{}}"#);
        assert_eq!(text(channels([("news", about())], none)), r#"{"channels":{"news":{}}}"#);
        assert_eq!(
            text(channel(&room, about(), None, both)),
            r#"{"occupied":true,"subscription_count":3,"user_count":2}"#
        );
        assert_eq!(text(channel(&news, ChannelReport::default(), None, none)), r#"{"occupied":false}"#);
        let (score, asked) = (Channel::new("cache-a", 200).unwrap(), Info { cache: true, ..none });
        let cached = LastEvent { data: r#"{"a":1}"#.into(), ttl: 1440 };
        assert_eq!(
            text(channel(&score, about(), Some(&cached), asked)),
            r#"{"cache":{"data":"{\"a\":1}","ttl":1440},"occupied":true}"#
        );
        assert_eq!(text(channel(&score, about(), None, asked)), r#"{"cache":null,"occupied":true}"#);
        let position = Info { position: true, ..none };
        assert_eq!(text(channel(&news, about(), None, position)), r#"{"occupied":true,"position":"9f-3"}"#);
        assert_eq!(
            text(triggered([(&news, about())], position)),
            r#"{"channels":{"news":{"position":"9f-3"}}}"#
        );
        let user = UserId::new("7");
        let message =
            |user_id| HistoryMessage { id: "9f-3".into(), event: "e", data: "{}", time: 5, user_id };
        let report = |messages| HistoryReport { messages, position: "9f-3".into(), more: false, gap: true };
        assert_eq!(
            text(history(&report(vec![message(None), message(Some(&user))]))),
            r#"{"messages":[{"id":"9f-3","event":"e","data":"{}","time":5},{"id":"9f-3","event":"e","data":"{}","time":5,"user_id":"7"}],"position":"9f-3","more":false,"gap":true}"#
        );
        let members =
            [parse_member(r#"{"user_id":7}"#), parse_member(r#"{"user_id":"b"}"#)].map(Result::unwrap);
        assert_eq!(text(users(&members)), r#"{"users":[{"id":"7"},{"id":"b"}]}"#);
        assert_eq!(text(connections(4)), r#"{"connections":4}"#);
        assert_eq!(text(health()), r#"{"health":"OK"}"#);
    }
}
