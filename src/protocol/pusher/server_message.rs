//! Frames that the server sends. `data` is always a string that contains JSON.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;

use super::channel::is_encrypted;
use super::reject_reason::{Fatal, RejectReason, SubscriptionError};
use crate::message::json::quoted;
use crate::message::{Frame, Member, Position, SocketId, UserId};

/// The first frame of a connection. `activity_timeout` is sent in whole seconds and is at least 1, because pusher-js throws on 0.
#[must_use]
pub fn connection_established(socket_id: SocketId, activity_timeout: Duration) -> Frame {
    let seconds = activity_timeout.as_secs().max(1);
    let data = format!(r#"{{"socket_id":"{socket_id}","activity_timeout":{seconds}}}"#);
    frame("pusher:connection_established", None, &data, None)
}

/// The answer to `pusher:ping`.
#[must_use]
pub fn pong() -> Frame {
    static PONG: LazyLock<Frame> = LazyLock::new(|| frame("pusher:pong", None, "{}", None));
    PONG.clone()
}

#[must_use]
pub fn ping() -> Frame {
    static PING: LazyLock<Frame> = LazyLock::new(|| frame("pusher:ping", None, "{}", None));
    PING.clone()
}

/// Tells the client why the server is about to close the connection.
#[must_use]
pub fn fatal(fatal: Fatal) -> Frame {
    error(Some(fatal.close().code), &fatal.to_string())
}

/// Tells the client why the server rejected its message.
#[must_use]
pub fn rejection(reason: &RejectReason) -> Frame {
    error(reason.code(), &reason.to_string())
}

fn error(code: Option<u16>, message: &str) -> Frame {
    frame("pusher:error", None, &json!({ "code": code, "message": message }).to_string(), None)
}

/// Confirms a subscription to a channel without members. `id` is the position after which everything follows, for clients that are
/// told positions.
#[must_use]
pub fn subscription_succeeded(channel: &str, id: Option<&str>) -> Frame {
    frame_at("pusher_internal:subscription_succeeded", Some(channel), "{}", None, id)
}

/// Confirms a subscription to a presence channel. `members` includes the new subscriber.
#[must_use]
pub fn presence_succeeded(channel: &str, members: &[Member], id: Option<&str>) -> Frame {
    let (mut ids, mut hash) = (String::new(), String::new());
    let mut separator = "";
    for member in members {
        ids.extend([separator, &member.user_id.to_json_string()]);
        let info = member.user_info.as_deref().unwrap_or("null");
        hash.extend([separator, &member.user_id.to_json_string(), ":", info]);
        separator = ",";
    }
    let count = members.len();
    let data = format!(r#"{{"presence":{{"ids":[{ids}],"hash":{{{hash}}},"count":{count}}}}}"#);
    frame_at("pusher_internal:subscription_succeeded", Some(channel), &data, None, id)
}

/// Rejects or ends a subscription. `channel` is the name as the client sent it.
#[must_use]
pub fn subscription_error(channel: &str, error: SubscriptionError) -> Frame {
    let data = format!(
        r#"{{"type":"{}","error":{},"status":{}}}"#,
        error.kind(),
        quoted(&error.to_string()),
        error.status()
    );
    frame("pusher:subscription_error", Some(channel), &data, None)
}

/// The first connection of a user joined a presence channel.
#[must_use]
pub fn member_added(channel: &str, member: &Member) -> Frame {
    let id = member.user_id.to_json_string();
    let data = match &member.user_info {
        Some(info) => format!(r#"{{"user_id":{id},"user_info":{info}}}"#),
        None => format!(r#"{{"user_id":{id}}}"#),
    };
    frame("pusher_internal:member_added", Some(channel), &data, None)
}

/// The last connection of a user left a presence channel.
#[must_use]
pub fn member_removed(channel: &str, user_id: &UserId) -> Frame {
    let data = format!(r#"{{"user_id":{}}}"#, user_id.to_json_string());
    frame("pusher_internal:member_removed", Some(channel), &data, None)
}

/// Reports the number of subscribed connections.
#[must_use]
pub fn subscription_count(channel: &str, count: u64) -> Frame {
    let data = format!(r#"{{"subscription_count":{count}}}"#);
    frame("pusher_internal:subscription_count", Some(channel), &data, None)
}

/// Tells a new subscriber that the cache channel keeps no event.
#[must_use]
pub fn cache_miss(channel: &str) -> Frame {
    frame("pusher:cache_miss", Some(channel), "{}", None)
}

/// What the client has missed on a channel follows.
#[must_use]
pub fn recovered(channel: &str, count: usize) -> Frame {
    recovery("yamabiko:recovered", channel, &format!(r#","count":{count}"#), None)
}

/// The client has missed something on a channel for good, or it is not known whether it has. `id` is the position after which
/// everything follows, for clients that are told positions.
#[must_use]
pub fn gap(channel: &str, id: Option<&str>) -> Frame {
    recovery("yamabiko:gap", channel, "", id)
}

/// `data` names the channel as well: pusher-js takes the data of an encrypted channel's events for encrypted, so that these frames
/// are not the channel's.
fn recovery(event: &str, channel: &str, more: &str, id: Option<&str>) -> Frame {
    let data = format!(r#"{{"channel":{}{more}}}"#, quoted(channel));
    frame_at(event, Some(channel).filter(|_| !is_encrypted(channel)), &data, None, id)
}

/// Confirms a sign-in. pusher-js needs a string under `id` in `user_data`.
#[must_use]
pub fn signin_success(user_data: &str) -> Frame {
    let data = format!(r#"{{"user_data":{}}}"#, quoted(user_data));
    frame("pusher:signin_success", None, &data, None)
}

/// Reports which watched users went online or offline. Omits empty lists.
#[must_use]
pub fn watchlist_events(online: &[UserId], offline: &[UserId]) -> Frame {
    let events: Vec<_> = [("online", online), ("offline", offline)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(name, ids)| {
            let ids: Vec<_> = ids.iter().map(UserId::to_json_string).collect();
            format!(r#"{{"name":"{name}","user_ids":[{}]}}"#, ids.join(","))
        })
        .collect();
    let data = format!(r#"{{"events":[{}]}}"#, events.join(","));
    frame("pusher_internal:watchlist_events", None, &data, None)
}

/// An event of a channel. `user_id` is the member that sent a client event on a presence channel.
#[must_use]
pub fn channel_event(channel: &str, event: &str, data: &str, user_id: Option<&UserId>) -> Frame {
    frame(event, Some(channel), data, user_id)
}

/// An event of a channel for clients that are told its position.
#[must_use]
pub fn stored_event(
    channel: &str,
    event: &str,
    data: &str,
    user_id: Option<&UserId>,
    position: Position,
) -> Frame {
    frame_at(event, Some(channel), data, user_id, Some(&position.to_string()))
}

fn frame(event: &str, channel: Option<&str>, data: &str, user_id: Option<&UserId>) -> Frame {
    frame_at(event, channel, data, user_id, None)
}

fn frame_at(
    event: &str,
    channel: Option<&str>,
    data: &str,
    user_id: Option<&UserId>,
    id: Option<&str>,
) -> Frame {
    let (event, data) = (quoted(event), quoted(data));
    let channel = channel.map_or_else(String::new, |channel| format!(r#","channel":{}"#, quoted(channel)));
    let user_id = user_id.map_or_else(String::new, |id| format!(r#","user_id":{}"#, id.to_json_string()));
    let id = id.map_or_else(String::new, |id| format!(r#","id":{}"#, quoted(id)));
    Frame::text(&[
        br#"{"event":"#,
        event.as_bytes(),
        channel.as_bytes(),
        br#","data":"#,
        data.as_bytes(),
        user_id.as_bytes(),
        id.as_bytes(),
        b"}",
    ])
}

#[cfg(test)]
pub(super) fn text_of(frame: &Frame) -> String {
    let bytes = frame.bytes();
    let start = match bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    String::from_utf8(bytes[start..].to_vec()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::pusher::AuthRejectReason;
    use crate::protocol::pusher::parse_member;

    #[track_caller]
    fn golden(frame: &Frame, text: &str) {
        assert_eq!(text_of(frame), text);
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let data = value["data"].as_str().expect("data is a string");
        serde_json::from_str::<serde_json::Value>(data).expect("which holds JSON");
    }

    #[test]
    fn golden_connection_frames() {
        golden(
            &connection_established(SocketId::new(1, 2), Duration::from_secs(30)),
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":30}"}"#,
        );
        assert!(
            text_of(&connection_established(SocketId::new(1, 2), Duration::ZERO)).contains("timeout\\\":1}")
        );
        golden(&ping(), r#"{"event":"pusher:ping","data":"{}"}"#);
        golden(&pong(), r#"{"event":"pusher:pong","data":"{}"}"#);
        golden(
            &fatal(Fatal::AppDisabled),
            r#"{"event":"pusher:error","data":"{\"code\":4003,\"message\":\"the app is disabled\"}"}"#,
        );
        golden(
            &rejection(&RejectReason::AlreadySubscribed("a".into())),
            r#"{"event":"pusher:error","data":"{\"code\":null,\"message\":\"Existing subscription to channel a\"}"}"#,
        );
        golden(
            &rejection(&RejectReason::RateLimited(10)),
            r#"{"event":"pusher:error","data":"{\"code\":4301,\"message\":\"too many client events: at most 10 a second\"}"}"#,
        );
        golden(
            &signin_success(r#"{"id":"7"}"#),
            r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"7\\\"}\"}"}"#,
        );
        golden(
            &watchlist_events(&[UserId::new("a"), UserId::new("b")], &[UserId::new("c")]),
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\",\"b\"]},{\"name\":\"offline\",\"user_ids\":[\"c\"]}]}"}"#,
        );
    }

    #[test]
    fn golden_subscription_frames() {
        golden(
            &subscription_succeeded("private-Chat.1", None),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-Chat.1","data":"{}"}"#,
        );
        golden(
            &subscription_succeeded("a", Some("s9f-17")),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}","id":"s9f-17"}"#,
        );
        golden(
            &subscription_error("private-a", SubscriptionError::Auth(AuthRejectReason::OtherApp)),
            r#"{"event":"pusher:subscription_error","channel":"private-a","data":"{\"type\":\"AuthError\",\"error\":\"`auth` names another app: does the application sign with the key that the page connects with?\",\"status\":401}"}"#,
        );
        golden(
            &subscription_count("a", 3),
            r#"{"event":"pusher_internal:subscription_count","channel":"a","data":"{\"subscription_count\":3}"}"#,
        );
        golden(
            &recovered("a", 2),
            r#"{"event":"yamabiko:recovered","channel":"a","data":"{\"channel\":\"a\",\"count\":2}"}"#,
        );
        golden(&gap("a", None), r#"{"event":"yamabiko:gap","channel":"a","data":"{\"channel\":\"a\"}"}"#);
        golden(
            &gap("private-encrypted-a", None),
            r#"{"event":"yamabiko:gap","data":"{\"channel\":\"private-encrypted-a\"}"}"#,
        );
        golden(&cache_miss("cache-a"), r#"{"event":"pusher:cache_miss","channel":"cache-a","data":"{}"}"#);
    }

    #[test]
    fn golden_presence_frames() {
        let members = [
            parse_member(r#"{"user_id":7,"user_info":{"name":"A"}}"#).unwrap(),
            parse_member(r#"{"user_id":"b"}"#).unwrap(),
        ];
        golden(
            &presence_succeeded("presence-a", &members, None),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"ids\":[\"7\",\"b\"],\"hash\":{\"7\":{\"name\":\"A\"},\"b\":null},\"count\":2}}"}"#,
        );
        golden(
            &presence_succeeded("presence-a", &[], None),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"ids\":[],\"hash\":{},\"count\":0}}"}"#,
        );
        golden(
            &member_added("presence-a", &members[0]),
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"7\",\"user_info\":{\"name\":\"A\"}}"}"#,
        );
        golden(
            &member_added("presence-a", &members[1]),
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"b\"}"}"#,
        );
        golden(
            &member_removed("presence-a", &members[0].user_id),
            r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"7\"}"}"#,
        );
    }

    #[test]
    fn golden_channel_event_frames() {
        golden(
            &channel_event("private-Chat.1", "App\\Events\\ChatMessageSent", r#"{"message":"山\n"}"#, None),
            r#"{"event":"App\\Events\\ChatMessageSent","channel":"private-Chat.1","data":"{\"message\":\"山\\n\"}"}"#,
        );
        golden(
            &channel_event("presence-a", "client-typing", "{}", Some(&UserId::new("7"))),
            r#"{"event":"client-typing","channel":"presence-a","data":"{}","user_id":"7"}"#,
        );
    }
}
