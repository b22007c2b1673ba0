//! What travels over Redis. Events: `{"channel":…,"data":{…},"sender":{"name":…,"id":…}}`, as Laravel writes them.
//! Signals: `{"body":…}`. Nodes add `node` and `seq`, by which each knows its own copies. Pure: bytes in,
//! dispatches out, and back.

use bytes::Bytes;
use thiserror::Error;

use crate::message::json::{members, string};
use crate::message::{ChannelName, Dispatch, Event, Sender, Signal, UserId};

/// Why a payload was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Invalid {
    #[error("it is not JSON")]
    Json,
    #[error("it is not a JSON object")]
    Envelope,
    #[error("its `channel` is missing or names no channel")]
    Channel,
    #[error("its `data` is missing or not an object")]
    Data,
    #[error("its `sender` is not {{name, id}}")]
    Sender,
    #[error("its `disconnect` is not {{user, channel}}")]
    Disconnect,
    #[error("its `body` is missing")]
    Signal,
}

/// A payload that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) why: Invalid,
    /// Where it was for, as far as it said so.
    pub(super) channel: Option<ChannelName>,
}

impl From<Invalid> for Dropped {
    fn from(why: Invalid) -> Self {
        Self { why, channel: None }
    }
}

impl Invalid {
    /// The word in the metric.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Json => "invalid_json",
            Self::Envelope => "invalid_envelope",
            Self::Channel => "invalid_channel",
            Self::Data => "invalid_data",
            Self::Sender => "invalid_sender",
            Self::Disconnect => "invalid_disconnect",
            Self::Signal => "invalid_signal",
        }
    }
}

/// A random name for this node: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeId(String);

impl NodeId {
    pub(super) fn random() -> Self {
        Self::from_number(rand::random())
    }

    fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }
}

/// The envelope of an event, all but its end: [`finish`] adds the number when it is known.
pub(super) fn begin_event(event: &Event, node: &NodeId) -> Vec<u8> {
    let channel = event.channel.as_str();
    let mut out = Vec::with_capacity(event.data.len() + channel.len() + event.sender.name.len() + 120);
    out.extend_from_slice(b"{\"channel\":");
    push_string(&mut out, channel);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&event.data);
    out.extend_from_slice(b",\"sender\":{\"name\":");
    push_string(&mut out, &event.sender.name);
    out.extend_from_slice(b",\"id\":");
    event.sender.id.with_json(|id| out.extend_from_slice(id.as_bytes()));
    out.extend_from_slice(format!("}},\"node\":\"{}\",\"seq\":", node.0).as_bytes());
    out
}

/// The envelope of a signal, all but its end.
pub(super) fn begin_signal(body: &[u8], node: &NodeId) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 80);
    out.extend_from_slice(b"{\"body\":");
    out.extend_from_slice(body);
    out.extend_from_slice(format!(",\"node\":\"{}\",\"seq\":", node.0).as_bytes());
    out
}

/// Ends what was begun.
pub(super) fn finish(envelope: &mut Vec<u8>, seq: u64) {
    envelope.extend_from_slice(format!("{seq}}}").as_bytes());
}

/// Reads what was published among the events. With it comes its number if this node published it.
///
/// `data` is a slice of the payload, not a copy. As in `JSON.parse`, the last of duplicate keys wins. Laravel may
/// also ask here for what is a signal among nodes: `{"disconnect":…}`, without `channel`.
pub(super) fn decode_event(
    payload: &Bytes,
    node: &NodeId,
    sender_default: &Sender,
) -> Result<(Dispatch, Option<u64>), Dropped> {
    let [channel, data, sender, disconnect, from, seq] =
        envelope(payload, ["channel", "data", "sender", "disconnect", "node", "seq"])?;
    if channel.is_none() && disconnect.is_some() {
        let signal = Signal::decode(payload).map_err(|_| Invalid::Disconnect)?;
        return Ok((signal.into(), None));
    }
    let channel = channel.and_then(string).ok_or(Invalid::Channel)?;
    let channel = ChannelName::new(&channel).map_err(|_| Invalid::Channel)?;
    let data = data.ok_or(Invalid::Data).and_then(|data| object(payload, data));
    let sender = match sender {
        None | Some("null") => Ok(sender_default.clone()),
        Some(text) => sender_of(text, sender_default),
    };
    match (data, sender) {
        (Ok(data), Ok(sender)) => Ok((Event::new(channel, sender, data).into(), own(node, from, seq))),
        (Err(why), _) | (_, Err(why)) => Err(Dropped { why, channel: Some(channel) }),
    }
}

/// Reads a signal; `body` is a slice of the payload.
pub(super) fn decode_signal(payload: &Bytes, node: &NodeId) -> Result<(Dispatch, Option<u64>), Dropped> {
    let [body, from, seq] = envelope(payload, ["body", "node", "seq"])?;
    let body = payload.slice_ref(body.ok_or(Invalid::Signal)?.as_bytes());
    Ok((Dispatch::Signal(body), own(node, from, seq)))
}

fn envelope<'a, const N: usize>(
    payload: &'a [u8],
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], Invalid> {
    let text = std::str::from_utf8(payload).map_err(|_| Invalid::Json)?;
    members(text, names).map_err(|error| if error.is_data() { Invalid::Envelope } else { Invalid::Json })
}

/// The number that this node gave it, if it was this node.
fn own(node: &NodeId, from: Option<&str>, seq: Option<&str>) -> Option<u64> {
    let own = from.is_some_and(|from| from.trim_matches('"') == node.0);
    seq.filter(|_| own).and_then(|seq| seq.parse().ok())
}

fn object(payload: &Bytes, text: &str) -> Result<Bytes, Invalid> {
    if text.starts_with('{') {
        return Ok(payload.slice_ref(text.as_bytes()));
    }
    // PHP writes an empty array, which a payload without entries is, as `[]`.
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match inside {
        Some(inside) if inside.trim_ascii().is_empty() => Ok(Bytes::from_static(b"{}")),
        _ => Err(Invalid::Data),
    }
}

fn sender_of(text: &str, sender_default: &Sender) -> Result<Sender, Invalid> {
    let [name, id] = members(text, ["name", "id"]).map_err(|_| Invalid::Sender)?;
    let name = name.and_then(string).ok_or(Invalid::Sender)?;
    let id = id.and_then(|id| UserId::from_json(id).ok()).ok_or(Invalid::Sender)?;
    // Sharing the text of the default saves an allocation for each message of the application.
    let name = if *name == *sender_default.name { sender_default.name.clone() } else { name.into() };
    Ok(Sender { name, id })
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn system() -> Sender {
        Sender { name: "System".into(), id: 0.into() }
    }

    fn read(payload: impl Into<Vec<u8>>) -> Result<(Event, Option<u64>), Invalid> {
        let payload = Bytes::from(payload.into());
        let read = decode_event(&payload, &NodeId::from_number(0xab), &system());
        let (dispatch, seq) = read.map_err(|dropped| dropped.why)?;
        let Dispatch::Event(event) = dispatch else { panic!("no event: {dispatch:?}") };
        Ok((event, seq))
    }

    /// A random payload may be anything.
    fn outcome(payload: impl Into<Vec<u8>>) -> [bool; 2] {
        let (payload, node) = (Bytes::from(payload.into()), NodeId::from_number(0xab));
        [decode_event(&payload, &node, &system()).is_ok(), decode_signal(&payload, &node).is_ok()]
    }

    fn read_signal(
        decoded: Result<(Dispatch, Option<u64>), Dropped>,
    ) -> Result<(Bytes, Option<u64>), Invalid> {
        let (dispatch, seq) = decoded.map_err(|dropped| dropped.why)?;
        let Dispatch::Signal(body) = dispatch else { panic!("no signal: {dispatch:?}") };
        Ok((body, seq))
    }

    #[test]
    fn a_signals_body_is_carried_to_the_letter() {
        let node = NodeId::from_number(0xab);
        for body in ["{\"a\":1e400, \"a\":\"\\ud800\"}", "[]", "null", "\"山\"", "12345678901234567890123"] {
            let mut envelope = begin_signal(body.as_bytes(), &node);
            finish(&mut envelope, 12);
            assert_eq!(
                std::str::from_utf8(&envelope).unwrap(),
                format!(r#"{{"body":{body},"node":"00000000000000ab","seq":12}}"#)
            );
            let envelope = Bytes::from(envelope);
            let (read_back, seq) = read_signal(decode_signal(&envelope, &node)).unwrap();
            assert_eq!((&read_back[..], seq), (body.as_bytes(), Some(12)));
            assert!(envelope.as_ptr_range().contains(&read_back.as_ptr()), "it was copied");
            let other = read_signal(decode_signal(&envelope, &NodeId::from_number(1))).unwrap();
            assert_eq!((other.0, other.1), (read_back, None));
        }
        for (payload, reason) in [
            (&b"{}"[..], Invalid::Signal),
            (b"[]", Invalid::Envelope),
            (b"", Invalid::Json),
            (b"{\"body\":}", Invalid::Json),
            (b"{\"body\":\"\xff\"}", Invalid::Json),
        ] {
            assert_eq!(read_signal(decode_signal(&Bytes::from_static(payload), &node)).unwrap_err(), reason);
        }
    }

    #[test]
    fn laravel_may_ask_to_disconnect() {
        let read = |payload: &str| {
            let payload = Bytes::from(payload.to_owned());
            read_signal(decode_event(&payload, &NodeId::from_number(0xab), &system()))
        };
        let (signal, own) =
            read(r#"{"socket":null,"disconnect":{"user":7},"node":"00000000000000ab","seq":1}"#).unwrap();
        assert_eq!((&signal[..], own), (&br#"{"disconnect":{"user":7}}"#[..], None));
        for text in [r#"{"disconnect":null}"#, r#"{"disconnect":{"user":[7]}}"#, r#"{"disconnect":[7]}"#] {
            assert_eq!(read(text).unwrap_err(), Invalid::Disconnect, "{text}");
        }
        // With a channel it is an event, to which the key says nothing.
        assert_eq!(read(r#"{"channel":null,"disconnect":{"user":7}}"#).unwrap_err(), Invalid::Channel);
        assert_eq!(read(r#"{"channel":"a","disconnect":{"user":7}}"#).unwrap_err(), Invalid::Data);
    }

    #[test]
    fn the_bytes_on_the_wire() {
        let event = Event {
            channel: ChannelName::new("chat:\"山\"").unwrap(),
            sender: Sender { name: "Aoi \\ 1".into(), id: (-7).into() },
            data: Bytes::from_static(br#"{"message": "hi"}"#),
            position: None,
        };
        let mut envelope = begin_event(&event, &NodeId::from_number(0xab));
        finish(&mut envelope, 12);
        assert_eq!(
            String::from_utf8(envelope.clone()).unwrap(),
            concat!(
                r#"{"channel":"chat:\"山\"","data":{"message": "hi"},"sender":{"name":"Aoi \\ 1","id":-7},"#,
                r#""node":"00000000000000ab","seq":12}"#
            )
        );
        let (read_back, own) = read(envelope).unwrap();
        assert_eq!((read_back.channel, read_back.sender, own), (event.channel, event.sender, Some(12)));
        assert_eq!(read_back.data, event.data);
    }

    #[test]
    fn what_php_writes() {
        let (event, own) =
            read(r#" {"channel":"chat:\u5c71\/1","data":[ ],"event":"x","extra":[[{}]]} "#).unwrap();
        assert_eq!((event.channel.as_str(), &event.data[..], own), ("chat:山/1", &b"{}"[..], None));
        assert_eq!(event.sender, system());
    }

    #[test]
    fn data_is_a_slice_of_the_payload() {
        let payload = Bytes::from_static(
            br#"{"channel":"a","data":{"z":1e400,"a":123456789012345678901234567890,"z":"\ud800"}}"#,
        );
        let (dispatch, _) = decode_event(&payload, &NodeId::from_number(1), &system()).unwrap();
        let Dispatch::Event(event) = dispatch else { panic!("no event: {dispatch:?}") };
        assert_eq!(&event.data[..], br#"{"z":1e400,"a":123456789012345678901234567890,"z":"\ud800"}"#);
        assert!(payload.as_ptr_range().contains(&event.data.as_ptr()), "it was copied");
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        let text = r#"{"channel":1,"data":1,"channel":"b","sender":7,"data":{"n":2},"sender":{"id":"x","name":"A","id":3}}"#;
        let (event, _) = read(text).unwrap();
        assert_eq!((event.channel.as_str(), &event.data[..]), ("b", &br#"{"n":2}"#[..]));
        assert_eq!(event.sender, Sender { name: "A".into(), id: 3.into() });
        assert_eq!(read(r#"{"channel":"b","data":{},"data":7}"#).unwrap_err(), Invalid::Data);
    }

    #[test]
    fn a_sender_is_optional_but_whole() {
        let sender = |text: &str| {
            read(format!(r#"{{"channel":"a","data":{{}},"sender":{text}}}"#)).map(|(event, _)| event.sender)
        };
        assert_eq!(sender("null"), Ok(system()));
        assert_eq!(
            sender(r#"{"id":7,"name":"\u0041","age":[]}"#),
            Ok(Sender { name: "A".into(), id: 7.into() })
        );
        for text in
            ["{}", "[]", "7", r#"{"name":"A"}"#, r#"{"name":"A","id":""}"#, r#"{"name":"A","id":7.0}"#]
        {
            assert_eq!(sender(text), Err(Invalid::Sender), "{text}");
        }
    }

    #[test]
    fn every_fault_has_its_reason() {
        for (payload, reason) in [
            (&b""[..], Invalid::Json),
            (b"{", Invalid::Json),
            (b"{\"channel\":\"a\",\"data\":{}} x", Invalid::Json),
            (b"{\"channel\":\"a\",\"data\":{'a':1}}", Invalid::Json),
            (b"{\"channel\":\"\xff\",\"data\":{}}", Invalid::Json),
            (b"null", Invalid::Envelope),
            (b"[]", Invalid::Envelope),
            (b"\"text\"", Invalid::Envelope),
            (b"7", Invalid::Envelope),
            (b"{}", Invalid::Channel),
            (b"{\"channel\":7,\"data\":{}}", Invalid::Channel),
            (b"{\"channel\":null,\"data\":{}}", Invalid::Channel),
            (b"{\"channel\":\"\",\"data\":{}}", Invalid::Channel),
            (b"{\"channel\":\"a\\nb\",\"data\":{}}", Invalid::Channel),
            (b"{\"channel\":\"\\ud800\",\"data\":{}}", Invalid::Channel),
            (b"{\"channel\":\"a\"}", Invalid::Data),
            (b"{\"channel\":\"a\",\"data\":[1]}", Invalid::Data),
            (b"{\"channel\":\"a\",\"data\":null}", Invalid::Data),
            (b"{\"channel\":\"a\",\"data\":\"{}\"}", Invalid::Data),
        ] {
            assert_eq!(read(payload).unwrap_err(), reason, "{}", String::from_utf8_lossy(payload));
        }
    }

    #[test]
    fn depth_and_size_do_no_harm() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(read(deep.clone()).unwrap_err(), Invalid::Envelope);
        assert_eq!(read(format!(r#"{{"x":{deep}"#)).unwrap_err(), Invalid::Json);
        let nested = format!("{}{}", r#"{"a":"#.repeat(300_000), "1".to_owned() + &"}".repeat(300_000));
        let (event, _) = read(format!(r#"{{"channel":"a","data":{nested}}}"#)).unwrap();
        assert_eq!(event.data.len(), nested.len());
        assert_eq!(read(vec![b'x'; 2 << 20]).unwrap_err(), Invalid::Json);
    }

    #[test]
    fn the_copy_of_another_node_is_not_ones_own() {
        for node in [r#""00000000000000ac""#, "7", "null", "{}", r#""""#] {
            let text = format!(r#"{{"channel":"a","data":{{}},"node":{node},"seq":1}}"#);
            assert_eq!(read(text).unwrap().1, None, "{node}");
        }
        let text = r#"{"channel":"a","data":{},"node":"00000000000000ab","seq":"x"}"#;
        assert_eq!(read(text).unwrap().1, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(channel in "\\P{Cc}{1,40}", name in any::<String>(), id in prop_oneof!["-?[1-9]{1,9}", "\"[a-z0-9-]{1,36}\""], seq: u64, text in any::<String>()) {
            let data = Bytes::from(serde_json::to_vec(&serde_json::json!({ "k": text })).unwrap());
            let event = Event {
                channel: ChannelName::new(&channel).unwrap(),
                sender: Sender { name: name.as_str().into(), id: UserId::from_json(&id).unwrap() },
                data: data.clone(),
                position: None,
            };
            let mut envelope = begin_event(&event, &NodeId::from_number(0xab));
            finish(&mut envelope, seq);
            let (read_back, own) = read(envelope).unwrap();
            prop_assert_eq!(read_back.channel, event.channel);
            prop_assert_eq!(read_back.sender.id.form(), event.sender.id.form());
            prop_assert_eq!(read_back.sender, event.sender);
            prop_assert_eq!(read_back.data, data);
            prop_assert_eq!(own, Some(seq));
        }

        #[test]
        fn no_bytes_can_hurt(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = outcome(payload);
        }

        #[test]
        fn no_near_miss_can_hurt(cut in 0usize..90, byte: u8) {
            let mut payload = br#"{"channel":"chat:","data":{"a":[1,2]},"sender":{"name":"A","id":1},"node":"x","seq":1}"#.to_vec();
            if let Some(place) = payload.get_mut(cut) { *place = byte; }
            let _ = outcome(payload);
        }
    }
}
