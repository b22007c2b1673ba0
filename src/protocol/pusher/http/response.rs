//! Bodies of successful responses.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Info;
use crate::message::{ChannelInfo, LastEvent, Member, UserId};
use crate::protocol::pusher::Channel;
use crate::protocol::pusher::channel::channel_kind;

/// The requested attributes that apply to the kind of the channel.
fn attributes(about: ChannelInfo, name: &str, info: Info) -> Map<String, Value> {
    let mut attributes = Map::new();
    if info.user_count && channel_kind(name).is_presence {
        attributes.insert("user_count".into(), about.members.into());
    }
    if info.subscription_count {
        attributes.insert("subscription_count".into(), about.subscriptions.into());
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
pub fn triggered<'a>(found: impl IntoIterator<Item = (&'a Channel, ChannelInfo)>, info: Info) -> Vec<u8> {
    if info.is_empty() {
        return empty();
    }
    channels(found.into_iter().map(|(channel, about)| (channel.name().as_str(), about)), info)
}

/// The response to `POST batch_events`: the requested attributes of each event's channel, or `{}` if no event requested any.
#[must_use]
pub fn batch<'a>(found: impl IntoIterator<Item = (&'a Channel, ChannelInfo, Info)>) -> Vec<u8> {
    let batch: Vec<_> = found
        .into_iter()
        .map(|(channel, about, info)| attributes(about, channel.name().as_str(), info))
        .collect();
    if batch.iter().all(Map::is_empty) { empty() } else { write(&json!({ "batch": batch })) }
}

/// The response to `GET channels`. `found` holds the channels that have a subscriber.
#[must_use]
pub fn channels<'a>(found: impl IntoIterator<Item = (&'a str, ChannelInfo)>, info: Info) -> Vec<u8> {
    let channels: Map<String, Value> = found
        .into_iter()
        .map(|(name, about)| (name.to_owned(), Value::Object(attributes(about, name, info))))
        .collect();
    write(&json!({ "channels": channels }))
}

/// The response to `GET channels/{channel}`. If `cache` was requested and the channel keeps no event, it is `null`.
#[must_use]
pub fn channel(channel: &Channel, about: ChannelInfo, cached: Option<&LastEvent>, info: Info) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("occupied".into(), (about.subscriptions > 0).into());
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
        let about = ChannelInfo { subscriptions: 3, members: 2 };
        let both = Info { user_count: true, subscription_count: true, cache: false };
        let none = Info::default();
        let (room, news) = (Channel::new("presence-a", 200).unwrap(), Channel::new("news", 200).unwrap());
        let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
        assert_eq!(text(triggered([(&news, about)], none)), "{}");
        assert_eq!(
            text(triggered([(&news, about), (&room, about)], both)),
            r#"{"channels":{"news":{"subscription_count":3},"presence-a":{"subscription_count":3,"user_count":2}}}"#
        );
        assert_eq!(text(batch([(&news, about, none), (&room, about, none)])), "{}");
        assert_eq!(
            text(batch([(&news, about, none), (&room, about, both)])),
            r#"{"batch":[{},{"subscription_count":3,"user_count":2}]}"#
        );
        assert_eq!(text(channels([], both)), r#"{"channels":{}}"#);
        assert_eq!(text(channels([("news", about)], none)), r#"{"channels":{"news":{}}}"#);
        assert_eq!(
            text(channel(&room, about, None, both)),
            r#"{"occupied":true,"subscription_count":3,"user_count":2}"#
        );
        assert_eq!(text(channel(&news, ChannelInfo::default(), None, none)), r#"{"occupied":false}"#);
        let (score, asked) = (Channel::new("cache-a", 200).unwrap(), Info { cache: true, ..none });
        let cached = LastEvent { data: r#"{"a":1}"#.into(), ttl: 1440 };
        assert_eq!(
            text(channel(&score, about, Some(&cached), asked)),
            r#"{"cache":{"data":"{\"a\":1}","ttl":1440},"occupied":true}"#
        );
        assert_eq!(text(channel(&score, about, None, asked)), r#"{"cache":null,"occupied":true}"#);
        let members =
            [parse_member(r#"{"user_id":7}"#), parse_member(r#"{"user_id":"b"}"#)].map(Result::unwrap);
        assert_eq!(text(users(&members)), r#"{"users":[{"id":"7"},{"id":"b"}]}"#);
        assert_eq!(text(connections(4)), r#"{"connections":4}"#);
        assert_eq!(text(health()), r#"{"health":"OK"}"#);
    }
}
