use bytes::Bytes;

use super::RejectReason;
use crate::message::json::{members, quoted};
use crate::message::{Frame, Sender};

/// The text of the object under `data`, the last one if there are several, like `JSON.parse`.
pub(super) fn decode(message: &Bytes) -> Result<Bytes, RejectReason> {
    let text = std::str::from_utf8(message).map_err(|_| RejectReason::InvalidJson)?;
    match members(text, ["data"]) {
        Ok([Some(data)]) if data.starts_with('{') => Ok(message.slice_ref(data.as_bytes())),
        Ok(_) => Err(RejectReason::InvalidMessage),
        Err(error) if error.is_data() => Err(RejectReason::InvalidMessage),
        Err(_) => Err(RejectReason::InvalidJson),
    }
}

/// The frame that every receiver gets.
pub(super) fn encode(sender: &Sender, data: &[u8]) -> Frame {
    let name = quoted(&sender.name);
    sender.id.with_json(|id| {
        Frame::text(&[
            br#"{"type":"message","sender":{"name":"#,
            name.as_bytes(),
            br#","id":"#,
            id.as_bytes(),
            br#"},"data":"#,
            data,
            b"}",
        ])
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

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
        assert!(decoded(&deep).is_ok());
        assert_eq!(decoded(&"[".repeat(1_000_000)), Err(RejectReason::InvalidMessage));
        assert_eq!(decoded(&format!(r#"{{"x":{}"#, "[".repeat(1_000_000))), Err(RejectReason::InvalidJson));
    }

    #[test]
    fn golden_broadcast() {
        let sender = Sender { name: Arc::from("A\"oi"), id: 7.into() };
        assert_eq!(
            &encode(&sender, br#"{"message":"hi"}"#).bytes()[2..],
            br#"{"type":"message","sender":{"name":"A\"oi","id":7},"data":{"message":"hi"}}"#
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&Bytes::from(junk));
        }

        #[test]
        fn every_object_is_delivered_unchanged(text in "[ -~]{0,20}", number in any::<f64>(), big in any::<u128>()) {
            let number = if number.is_finite() { number } else { 0.0 };
            let data = serde_json::json!({ "t": text, "n": number, "l": [text, null] });
            let data = data.to_string().replacen('{', &format!("{{\"big\":{big},"), 1);
            let taken = decoded(&format!(r#"{{"data":{data}}}"#)).unwrap();
            prop_assert_eq!(&taken, &data);
            let name: Arc<str> = text.into();
            let frame = encode(&Sender { name: name.clone(), id: (-1).into() }, taken.as_bytes());
            let json = std::str::from_utf8(&frame.bytes()[if frame.bytes()[1] == 126 { 4 } else { 2 }..]).unwrap();
            let value: Value = serde_json::from_str(json).unwrap();
            prop_assert_eq!(value["sender"]["name"].as_str(), Some(&*name));
            prop_assert!(json.contains(&data));
        }
    }
}
