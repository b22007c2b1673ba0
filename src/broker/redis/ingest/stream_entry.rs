use bytes::Bytes;
use redis::Value;

use crate::broker::envelope::{EnvelopeError, NodeId, decode_event};
use crate::broker::retained;
use crate::message::json::{members_not_null, string};
use crate::message::{AppEntry, AppMessages, Dispatch, InvalidEntry, Publication, RetentionRules, Sender};
use crate::trace_context::TRACEPARENT;

/// The largest payload, in bytes.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// An entry of the ingest stream.
#[derive(Debug)]
pub(super) struct StreamEntry {
    pub(super) id: Vec<u8>,
    pub(super) payload: Option<Bytes>,
}

impl StreamEntry {
    /// Reads the entries in the reply to XREAD.
    pub(super) fn parse_all(reply: Value) -> Option<Vec<Self>> {
        let Value::Array(streams) = reply else {
            return matches!(reply, Value::Nil).then(Vec::new);
        };
        let Some(Value::Array(stream)) = streams.into_iter().next() else { return None };
        let Some(Value::Array(entries)) = stream.into_iter().nth(1) else { return None };
        entries.into_iter().map(Self::parse).collect()
    }

    fn parse(entry: Value) -> Option<Self> {
        let Value::Array(parts) = entry else { return None };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(id)), fields) = (parts.next(), parts.next()) else { return None };
        let mut payload = None;
        if let Some(Value::Array(fields)) = fields {
            let mut fields = fields.into_iter();
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                if let (Value::BulkString(name), Value::BulkString(value)) = (name, value)
                    && name == b"payload"
                {
                    payload = Some(value.into());
                }
            }
        }
        Some(Self { id, payload })
    }
}

/// Turns entries of the ingest stream into what nodes publish.
pub(super) struct EntryReader<'a> {
    pub(super) node: &'a NodeId,
    pub(super) sender_default: &'a Sender,
    pub(super) retention: &'a RetentionRules,
    pub(super) apps: &'a dyn AppMessages,
}

impl EntryReader<'_> {
    /// Reads an entry, or says in one word why it cannot be delivered.
    pub(super) fn read(&self, entry: &StreamEntry) -> Result<Publication, &'static str> {
        let payload = entry.payload.as_ref().ok_or("no_payload")?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err("too_large");
        }
        let text = std::str::from_utf8(payload).map_err(|_| EnvelopeError::Json.reason())?;
        let names = ["app", "channel", "event", "data", "socket_id", TRACEPARENT];
        let [app, channel, event, data, socket_id, traceparent] =
            members_not_null(text, names).map_err(|error| {
                let error = if error.is_data() { EnvelopeError::Envelope } else { EnvelopeError::Json };
                error.reason()
            })?;
        if let Some(app) = app {
            let id = string(app);
            // Its ID may be written as a number.
            let app = id.as_deref().unwrap_or(app);
            let entry = AppEntry { app, channel, event, data, socket_id, traceparent };
            return self.apps.read_entry(&entry).map_err(|InvalidEntry(reason)| reason);
        }
        let decoded = decode_event(payload, self.node, self.sender_default);
        let dispatch = decoded.map_err(|invalid| invalid.error.reason())?.dispatch;
        if !matches!(dispatch, Dispatch::Event(_)) {
            return Err(EnvelopeError::Channel.reason());
        }
        let mut publication = Publication::from(dispatch);
        retained(&mut publication, self.retention);
        Ok(publication)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::NoApps;

    fn read(payload: Option<&[u8]>) -> Result<Publication, &'static str> {
        let sender = Sender { name: "System".into(), id: 0.into() };
        let (node, retention) = (NodeId::random(), RetentionRules::default());
        let reader =
            EntryReader { node: &node, sender_default: &sender, retention: &retention, apps: &NoApps };
        reader.read(&StreamEntry { id: b"1-0".to_vec(), payload: payload.map(Bytes::copy_from_slice) })
    }

    #[test]
    fn entries_for_native_channels_are_read_like_what_laravel_publishes() {
        let publication = read(Some(br#"{"channel":"chat:a","data":{"a":1},"app":null}"#)).unwrap();
        let Dispatch::Event(event) = publication.dispatch else { panic!() };
        assert_eq!((event.channel.as_str(), &event.data[..]), ("chat:a", &br#"{"a":1}"#[..]));
        for (payload, reason) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[]", "invalid_envelope"),
            (r#"{"data":{}}"#, "invalid_channel"),
            (r#"{"channel":"","data":{}}"#, "invalid_channel"),
            (r#"{"channel":"a","data":7}"#, "invalid_data"),
            (r#"{"channel":"a","data":{},"sender":7}"#, "invalid_sender"),
            (r#"{"disconnect":{"user":7}}"#, "invalid_channel"),
            (r#"{"app":"1","channel":"a","event":"e","data":{}}"#, "unknown_app"),
        ] {
            assert_eq!(read(Some(payload.as_bytes())).unwrap_err(), reason, "{payload}");
        }
        assert_eq!(read(None).unwrap_err(), "no_payload");
        assert_eq!(read(Some(&vec![b' '; MAX_PAYLOAD_BYTES + 1])).unwrap_err(), "too_large");
    }

    #[test]
    fn the_reply_of_redis_is_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let fields = Value::Array(vec![text("a"), text("b"), text("payload"), text("p")]);
        let entry = Value::Array(vec![text("1-0"), fields]);
        let reply = Value::Array(vec![Value::Array(vec![text("in"), Value::Array(vec![entry])])]);
        let entries = StreamEntry::parse_all(reply).unwrap();
        assert_eq!((&entries[0].id[..], entries[0].payload.as_deref()), (&b"1-0"[..], Some(&b"p"[..])));
        assert!(StreamEntry::parse_all(Value::Nil).unwrap().is_empty());
        for other in [Value::Int(1), Value::Array(vec![Value::Nil]), Value::Array(vec![])] {
            assert!(StreamEntry::parse_all(other).is_none());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(Some(&payload));
        }
    }
}
