use std::fmt::Display;
use std::io::Write as _;

use bytes::Bytes;

use super::encodings::frame_with;
use super::{MessageRef, RejectReason};
use crate::message::json::{is_deeper_than, members, write_quoted};
use crate::message::{Encoding, Frame, Position, Sender};

/// PHP reads 512 levels, and what tells the application about a message takes some of them.
const MAX_DEPTH: usize = 500;

/// Room for the names of the fields and the IDs of a message, in bytes.
const FIELDS: usize = 112;

/// The text of the object under `data`, the last one if there are several, like `JSON.parse`.
pub(super) fn decode(message: &Bytes) -> Result<Bytes, RejectReason> {
    let [data] = read(message, ["data"])?;
    object(message, data)
}

/// The same, and what is under `ref`, also if the message is refused.
pub(super) fn decode_with_ref(message: &Bytes) -> (Option<MessageRef>, Result<Bytes, RejectReason>) {
    let [data, message_ref] = match read(message, ["data", "ref"]) {
        Ok(found) => found,
        Err(reason) => return (None, Err(reason)),
    };
    match message_ref.map_or(Ok(None), MessageRef::from_json) {
        Ok(message_ref) => (message_ref, object(message, data)),
        Err(_) => (None, Err(RejectReason::InvalidRef)),
    }
}

fn read<'a, const N: usize>(
    message: &'a Bytes,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], RejectReason> {
    let text = std::str::from_utf8(message).map_err(|_| RejectReason::InvalidJson)?;
    members(text, names).map_err(|error| {
        if error.is_data() { RejectReason::InvalidMessage } else { RejectReason::InvalidJson }
    })
}

fn object(message: &Bytes, data: Option<&str>) -> Result<Bytes, RejectReason> {
    let data = data.filter(|data| data.starts_with('{')).ok_or(RejectReason::InvalidMessage)?;
    if is_deeper_than(data.as_bytes(), MAX_DEPTH) {
        return Err(RejectReason::TooDeep);
    }
    Ok(message.slice_ref(data.as_bytes()))
}

/// The frame that every receiver gets. `position`: of a message in the history of its channel. `message_type`: see
/// [`Event`](crate::message::Event).
pub(super) fn encode(
    message_type: Option<&str>,
    position: Option<Position>,
    sender: &Sender,
    data: &[u8],
    encoding: Encoding,
) -> Frame {
    let id = position.as_ref().map(|position| position as &dyn Display);
    let length = FIELDS + message_type.map_or(0, str::len) + sender.name.len() + data.len();
    frame_with(encoding, id, length, |text| {
        match message_type {
            None => text.extend_from_slice(br#"{"type":"message","#),
            Some(message_type) => {
                text.extend_from_slice(br#"{"type":"#);
                write_quoted(message_type, text);
                text.push(b',');
            }
        }
        if let Some(position) = position {
            // Memory can always be written to.
            let _ = write!(text, r#""id":"{position}","#);
        }
        text.extend_from_slice(br#""sender":{"name":"#);
        write_quoted(&sender.name, text);
        text.extend_from_slice(br#","id":"#);
        sender.id.with_json(|id| text.extend_from_slice(id.as_bytes()));
        text.extend_from_slice(br#"},"data":"#);
        text.extend_from_slice(data);
        text.push(b'}');
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::protocol::native::{ENCODING, SSE};

    fn decoded(text: &str) -> Result<String, RejectReason> {
        decode(&Bytes::copy_from_slice(text.as_bytes())).map(|data| String::from_utf8(data.to_vec()).unwrap())
    }

    #[test]
    fn data_is_delivered_as_it_was_written() {
        let data = r#"{ "b":1.0,"a":12345678901234567890123, "n":{"x":[null,{}]},"u":"\u5c71彦"}"#;
        assert_eq!(decoded(&format!(r#" {{"channel":"other","data":{data} ,"x":1}} "#)).as_deref(), Ok(data));
        assert_eq!(decoded(r#"{"data":{"a":1},"data":{"a":2}}"#).as_deref(), Ok(r#"{"a":2}"#));
        assert_eq!(decoded(r#"{"d\u0061ta":{}}"#).as_deref(), Ok("{}"));
    }

    #[test]
    fn invalid_json_and_invalid_messages_are_told_apart() {
        for text in [
            "",
            "{",
            "hello",
            r#"{"data":{}"#,
            r#"{"data":{}}x"#,
            r#"{"data":{"a":}}"#,
            "{\"data\":{\"a\":\"\n\"}}",
        ] {
            assert_eq!(decoded(text), Err(RejectReason::InvalidJson), "{text}");
        }
        for text in [
            "null",
            "1",
            "[]",
            "{}",
            r#"{"data":null}"#,
            r#"{"data":[]}"#,
            r#"{"data":"x"}"#,
            r#"{"other":{}}"#,
        ] {
            assert_eq!(decoded(text), Err(RejectReason::InvalidMessage), "{text}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(decoded(&deep), Err(RejectReason::TooDeep));
        let levels = |count| format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(count), "]".repeat(count));
        assert!(decoded(&levels(MAX_DEPTH - 1)).is_ok());
        assert_eq!(decoded(&levels(MAX_DEPTH)), Err(RejectReason::TooDeep));
        assert_eq!(decoded(&"[".repeat(1_000_000)), Err(RejectReason::InvalidMessage));
        assert_eq!(decoded(&format!(r#"{{"x":{}"#, "[".repeat(1_000_000))), Err(RejectReason::InvalidJson));
    }

    #[test]
    fn golden_broadcast() {
        let sender = Sender { name: Arc::from("A\"oi"), id: 7.into() };
        assert_eq!(
            &encode(None, None, &sender, br#"{"message":"hi"}"#, ENCODING).bytes()[2..],
            br#"{"type":"message","sender":{"name":"A\"oi","id":7},"data":{"message":"hi"}}"#
        );
        let position = "9f3c20-17".parse().ok();
        assert_eq!(
            &encode(None, position, &sender, br#"{"message":"hi"}"#, ENCODING).bytes()[2..],
            br#"{"type":"message","id":"9f3c20-17","sender":{"name":"A\"oi","id":7},"data":{"message":"hi"}}"#
        );
        assert_eq!(
            &encode(Some("job\"s"), position, &sender, b"{}", ENCODING).bytes()[2..],
            br#"{"type":"job\"s","id":"9f3c20-17","sender":{"name":"A\"oi","id":7},"data":{}}"#
        );
        assert_eq!(
            encode(None, position, &sender, b"{}", SSE).bytes().as_ref(),
            b"id: 9f3c20-17\ndata: {\"type\":\"message\",\"id\":\"9f3c20-17\",\"sender\":{\"name\":\"A\\\"oi\",\"id\":7},\"data\":{}}\n\n"
        );
    }

    #[test]
    fn a_ref_is_read_also_from_a_message_that_is_refused() {
        let read = |text: &str| {
            let (message_ref, data) = decode_with_ref(&Bytes::copy_from_slice(text.as_bytes()));
            (
                message_ref.map(|found| found.to_json()),
                data.map(|data| String::from_utf8(data.to_vec()).unwrap()),
            )
        };
        let invalid = RejectReason::InvalidMessage;
        assert_eq!(read(r#"{"data":{"a":1}}"#), (None, Ok(r#"{"a":1}"#.into())));
        assert_eq!(read(r#"{"ref":"x\n","data":{}}"#), (Some(r#""x\n""#.into()), Ok("{}".into())));
        assert_eq!(read(r#"{"ref":"1","data":{},"ref":null}"#), (None, Ok("{}".into())));
        assert_eq!(read(r#"{"ref":"1","data":[]}"#), (Some(r#""1""#.into()), Err(invalid)));
        assert_eq!(read(r#"{"ref":"1"}"#), (Some(r#""1""#.into()), Err(invalid)));
        for bad in ["1", r#""""#, "{}", "true"] {
            let text = format!(r#"{{"ref":{bad},"data":{{}}}}"#);
            assert_eq!(read(&text), (None, Err(RejectReason::InvalidRef)), "{bad}");
        }
        assert_eq!(read(r#"{"ref":"1","data":{}"#), (None, Err(RejectReason::InvalidJson)));
        assert_eq!(read("[]"), (None, Err(invalid)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let junk = Bytes::from(junk);
            prop_assert_eq!(decode(&junk).is_err(), decode_with_ref(&junk).1.is_err());
        }

        #[test]
        fn every_object_is_delivered_unchanged(text in "[ -~]{0,20}", number in any::<f64>(), big in any::<u128>()) {
            let number = if number.is_finite() { number } else { 0.0 };
            let data = serde_json::json!({ "t": text, "n": number, "l": [text, null] });
            let data = data.to_string().replacen('{', &format!("{{\"big\":{big},"), 1);
            let taken = decoded(&format!(r#"{{"data":{data}}}"#)).unwrap();
            prop_assert_eq!(&taken, &data);
            let name: Arc<str> = text.into();
            let frame = encode(None, None, &Sender { name: name.clone(), id: (-1).into() }, taken.as_bytes(), ENCODING);
            let json = std::str::from_utf8(&frame.bytes()[if frame.bytes()[1] == 126 { 4 } else { 2 }..]).unwrap();
            let value: Value = serde_json::from_str(json).unwrap();
            prop_assert_eq!(value["sender"]["name"].as_str(), Some(&*name));
            prop_assert!(json.contains(&data));
        }
    }
}
