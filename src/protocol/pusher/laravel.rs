//! Payloads of Laravel's `redis` broadcaster: `{"event":…,"data":{…},"socket":…}`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::message::json::{members_not_null, string};
use crate::message::{Broadcast, ChannelName, InvalidBroadcast};
use crate::trace_context::{TRACEPARENT, TraceContext};

/// Decodes a payload. `data` keeps its own copy of `socket`, which browsers have always received. A `socket` that is not a
/// socket ID excludes no connection.
///
/// Returns `None` for an empty payload, which PHP publishes for an event that is not UTF-8.
pub(super) fn decode(
    app: &Arc<str>,
    channel: &ChannelName,
    payload: &[u8],
) -> Result<Option<Broadcast>, InvalidBroadcast> {
    let text = std::str::from_utf8(payload).map_err(|_| InvalidBroadcast::NotAnObject)?.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let [event, data, except, trace] = members_not_null(text, ["event", "data", "socket", TRACEPARENT])
        .map_err(|_| InvalidBroadcast::NotAnObject)?;
    let event: Cow<'_, str> = event.and_then(string).ok_or(InvalidBroadcast::Member("event"))?;
    if is_reserved(&event) {
        return Err(InvalidBroadcast::Reserved);
    }
    Ok(Some(Broadcast {
        app: app.clone(),
        channels: vec![channel.clone()],
        event: event.into_owned(),
        data: data.unwrap_or("null").to_owned(),
        except: except.and_then(string).and_then(|socket| socket.parse().ok()),
        user_id: None,
        trace: trace.and_then(string).and_then(|trace| TraceContext::read_sampled(&trace)).map(Box::new),
    }))
}

/// Whether the name is reserved for the protocol. An application must not publish such an event, because clients would treat
/// it as a message of the server.
pub(super) fn is_reserved(event: &str) -> bool {
    event.starts_with("pusher:") || event.starts_with("pusher_internal:")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::server_message::{channel_event, text_of};
    use super::*;
    use crate::message::SocketId;

    fn channel(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn decodes_payloads_of_laravel() {
        let payload = br#"{"event":"App\\Events\\ChatMessageSent","data":{"message":"\u5c71","user":{"id":7,"name":"A"},"socket":"1.2"},"socket":"1.2"}"#;
        let read = |payload: &[u8]| decode(&"1".into(), &channel("private-Chat.1"), payload);
        let event = read(payload).unwrap().unwrap();
        assert_eq!(event.except, Some(SocketId::new(1, 2)));
        assert_eq!(
            text_of(&channel_event("private-Chat.1", &event.event, &event.data, None)),
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&"1".into(), &channel("a"), &payload);
        }
    }
}
