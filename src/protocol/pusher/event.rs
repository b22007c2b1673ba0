use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use super::outgoing;
use super::user::parse_user_id;
use crate::message::json::{members_not_null, quoted, string};
use crate::message::{ChannelName, Frame, SocketId, UserId};

/// An event on its way to the subscribers of its channels, on whichever node they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// The id of the app.
    pub app: Arc<str>,
    /// Where it is for; one at least.
    pub channels: Vec<ChannelName>,
    /// Its name.
    pub event: String,
    /// What the receivers find under `data`.
    pub data: String,
    /// The connection that does not get it.
    pub except: Option<SocketId>,
    /// Which member sent it, of a client event on a presence channel.
    pub user_id: Option<UserId>,
}

/// Why a payload was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidBroadcast {
    /// It is not the text of a JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member is missing or of another type.
    #[error("its `{0}` is missing or not what it should be")]
    Member(&'static str),
    /// Its name is one of the protocol's own, which clients would believe.
    #[error("its name starts with pusher: or pusher_internal:")]
    Reserved,
}

/// Whether a name is for the protocol's own events: an application must not publish it, because clients would take it for
/// the server's word.
pub(super) fn is_reserved(event: &str) -> bool {
    event.starts_with("pusher:") || event.starts_with("pusher_internal:")
}

impl Broadcast {
    /// What travels between nodes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let channels: Vec<_> = self.channels.iter().map(|channel| quoted(channel.as_str())).collect();
        let mut text = format!(
            r#"{{"app":{},"channels":[{}],"event":{},"data":{}"#,
            quoted(&self.app),
            channels.join(","),
            quoted(&self.event),
            quoted(&self.data)
        );
        if let Some(socket) = self.except {
            text.extend([r#","socket_id":""#, &socket.to_string(), "\""]);
        }
        if let Some(user_id) = &self.user_id {
            text.extend([r#","user_id":"#, &user_id.to_json_string()]);
        }
        text.push('}');
        text.into_bytes()
    }

    /// Reads what another node wrote.
    pub fn from_json(payload: &[u8]) -> Result<Self, InvalidBroadcast> {
        let text = std::str::from_utf8(payload).map_err(|_| InvalidBroadcast::NotAnObject)?;
        let [app, channels, event, data, except, user_id] =
            members_not_null(text, ["app", "channels", "event", "data", "socket_id", "user_id"])
                .map_err(|_| InvalidBroadcast::NotAnObject)?;
        let channels: Vec<Cow<'_, str>> =
            channels.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
        let channels: Result<Vec<_>, _> = channels.iter().map(|name| ChannelName::new(name)).collect();
        let channels = channels.ok().filter(|channels| !channels.is_empty());
        Ok(Self {
            app: required(app, "app")?.into(),
            channels: channels.ok_or(InvalidBroadcast::Member("channels"))?,
            event: required(event, "event")?.into_owned(),
            data: required(data, "data")?.into_owned(),
            except: socket(except, "socket_id")?,
            user_id: user_id
                .map(|id| parse_user_id(id).ok_or(InvalidBroadcast::Member("user_id")))
                .transpose()?,
        })
    }

    /// Reads what Laravel's `redis` broadcaster publishes on a channel: `{"event":…,"data":{…},"socket":…}`.
    ///
    /// `data` keeps its own copy of `socket`, as browsers have always got it. None: the payload is empty, which is what
    /// PHP publishes for an event that is not UTF-8. A `socket` that is none of this server's excludes nobody.
    pub fn from_laravel(
        app: &Arc<str>,
        channel: &ChannelName,
        payload: &[u8],
    ) -> Result<Option<Self>, InvalidBroadcast> {
        let text = std::str::from_utf8(payload).map_err(|_| InvalidBroadcast::NotAnObject)?.trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        let [event, data, except] =
            members_not_null(text, ["event", "data", "socket"]).map_err(|_| InvalidBroadcast::NotAnObject)?;
        let event = required(event, "event")?;
        if is_reserved(&event) {
            return Err(InvalidBroadcast::Reserved);
        }
        Ok(Some(Self {
            app: app.clone(),
            channels: vec![channel.clone()],
            event: event.into_owned(),
            data: data.unwrap_or("null").to_owned(),
            except: except.and_then(string).and_then(|socket| socket.parse().ok()),
            user_id: None,
        }))
    }

    /// What the subscribers of one of its channels get. Encode it once a channel.
    #[must_use]
    pub fn frame(&self, channel: &ChannelName) -> Frame {
        outgoing::channel_event(channel.as_str(), &self.event, &self.data, self.user_id.as_ref())
    }
}

fn required<'a>(value: Option<&'a str>, name: &'static str) -> Result<Cow<'a, str>, InvalidBroadcast> {
    value.and_then(string).ok_or(InvalidBroadcast::Member(name))
}

fn socket(value: Option<&str>, name: &'static str) -> Result<Option<SocketId>, InvalidBroadcast> {
    let Some(value) = value else { return Ok(None) };
    let socket = string(value).and_then(|text| text.parse().ok());
    socket.map(Some).ok_or(InvalidBroadcast::Member(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn golden_envelope() {
        let event = Broadcast {
            app: "1".into(),
            channels: vec![channel("presence-a"), channel("b")],
            event: "App\\E".into(),
            data: r#"{"a":1}"#.into(),
            except: Some(SocketId::new(1, 2)),
            user_id: Some(UserId::new("7")),
        };
        let text = r#"{"app":"1","channels":["presence-a","b"],"event":"App\\E","data":"{\"a\":1}","socket_id":"1.2","user_id":"7"}"#;
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), text);
        assert_eq!(Broadcast::from_json(text.as_bytes()), Ok(event));
    }

    #[test]
    fn what_laravel_publishes() {
        let payload = br#"{"event":"App\\Events\\ChatMessageSent","data":{"message":"\u5c71","user":{"id":7,"name":"A"},"socket":"1.2"},"socket":"1.2"}"#;
        let read = |payload: &[u8]| Broadcast::from_laravel(&"1".into(), &channel("private-Chat.1"), payload);
        let event = read(payload).unwrap().unwrap();
        assert_eq!(event.except, Some(SocketId::new(1, 2)));
        assert_eq!(
            outgoing::text_of(&event.frame(&channel("private-Chat.1"))),
            r#"{"event":"App\\Events\\ChatMessageSent","channel":"private-Chat.1","data":"{\"message\":\"\\u5c71\",\"user\":{\"id\":7,\"name\":\"A\"},\"socket\":\"1.2\"}"}"#
        );
        let event = read(br#"{"event":"E","data":{"socket":null},"socket":null}"#).unwrap().unwrap();
        assert_eq!((event.except, event.data.as_str()), (None, r#"{"socket":null}"#));
        assert_eq!(read(br#"{"event":"E","data":[],"socket":"undefined"}"#).unwrap().unwrap().except, None);
        assert_eq!([read(b""), read(b" \n")], [Ok(None), Ok(None)]);
        assert_eq!(read(b"{}"), Err(InvalidBroadcast::Member("event")));
        for name in ["pusher:error", "pusher_internal:member_removed", r"p\u0075sher:pong"] {
            let payload = format!(r#"{{"event":"{name}","data":{{}}}}"#);
            assert_eq!(read(payload.as_bytes()), Err(InvalidBroadcast::Reserved), "{name}");
        }
        assert!(read(br#"{"event":"pusher","data":{}}"#).is_ok());
        for payload in [&b"null"[..], b"[]", b"7", b"{", b"\xff", b"false"] {
            assert_eq!(read(payload), Err(InvalidBroadcast::NotAnObject));
        }
    }

    #[test]
    fn what_no_node_writes() {
        let good = r#"{"app":"1","channels":["a"],"event":"e","data":"d","socket_id":"1.2"}"#;
        assert!(Broadcast::from_json(good.as_bytes()).is_ok());
        for (part, by, member) in [
            (r#""1""#, "1", "app"),
            (r#"["a"]"#, "[]", "channels"),
            (r#"["a"]"#, r#"[""]"#, "channels"),
            (r#"["a"]"#, r#""a""#, "channels"),
            (r#""e""#, "{}", "event"),
            (r#""d""#, "{}", "data"),
            (r#""1.2""#, "1.2", "socket_id"),
        ] {
            let text = good.replacen(part, by, 1);
            assert_eq!(
                Broadcast::from_json(text.as_bytes()),
                Err(InvalidBroadcast::Member(member)),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(app in any::<String>(), event in any::<String>(), data in any::<String>(), user in "\\P{Cc}{1,9}", node: u64, socket: u64, names in prop::collection::vec("[a-z]{1,9}", 1..4)) {
            let event = Broadcast {
                app: app.into(),
                channels: names.iter().map(|name| channel(name)).collect(),
                event,
                data,
                except: Some(SocketId::new(node, socket)),
                user_id: Some(UserId::new(&user)),
            };
            prop_assert_eq!(Broadcast::from_json(&event.to_json()), Ok(event));
        }

        #[test]
        fn no_bytes_can_hurt(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Broadcast::from_json(&payload);
            let _ = Broadcast::from_laravel(&"1".into(), &channel("a"), &payload);
        }
    }
}
