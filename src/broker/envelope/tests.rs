use bytes::Bytes;
use proptest::prelude::*;

use super::decode::EnvelopeError;
use super::*;
use crate::message::{ChannelName, Dispatch, Event, Sender, UserId};

fn system() -> Sender {
    Sender { name: "System".into(), id: 0.into() }
}

fn read(payload: impl Into<Vec<u8>>) -> Result<(Event, Option<u64>), EnvelopeError> {
    let payload = Bytes::from(payload.into());
    let read = decode_event(&payload, &NodeId::from_number(0xab), &system());
    let Decoded { dispatch, seq, .. } = read.map_err(|invalid| invalid.error)?;
    let Dispatch::Event(event) = dispatch else { panic!("no event: {dispatch:?}") };
    Ok((event, seq))
}

fn outcome(payload: impl Into<Vec<u8>>) -> [bool; 2] {
    let (payload, node) = (Bytes::from(payload.into()), NodeId::from_number(0xab));
    [decode_event(&payload, &node, &system()).is_ok(), decode_signal(&payload, &node).is_ok()]
}

fn read_signal(decoded: Result<Decoded, InvalidPayload>) -> Result<(Bytes, Option<u64>), EnvelopeError> {
    let Decoded { dispatch, seq, .. } = decoded.map_err(|invalid| invalid.error)?;
    let Dispatch::Signal(body) = dispatch else { panic!("no signal: {dispatch:?}") };
    Ok((body, seq))
}

#[test]
fn a_signal_body_is_carried_byte_for_byte() {
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
        (&b"{}"[..], EnvelopeError::Signal),
        (b"[]", EnvelopeError::Envelope),
        (b"", EnvelopeError::Json),
        (b"{\"body\":}", EnvelopeError::Json),
        (b"{\"body\":\"\xff\"}", EnvelopeError::Json),
    ] {
        assert_eq!(read_signal(decode_signal(&Bytes::from_static(payload), &node)).unwrap_err(), reason);
    }
}

#[test]
fn laravel_may_publish_a_disconnect() {
    let read = |payload: &str| {
        let payload = Bytes::from(payload.to_owned());
        read_signal(decode_event(&payload, &NodeId::from_number(0xab), &system()))
    };
    let (signal, own) =
        read(r#"{"socket":null,"disconnect":{"user":7},"node":"00000000000000ab","seq":1}"#).unwrap();
    assert_eq!((&signal[..], own), (&br#"{"disconnect":{"user":7}}"#[..], None));
    for text in [r#"{"disconnect":null}"#, r#"{"disconnect":{"user":[7]}}"#, r#"{"disconnect":[7]}"#] {
        assert_eq!(read(text).unwrap_err(), EnvelopeError::Disconnect, "{text}");
    }
    // With a channel it is an event, in which the key means nothing.
    assert_eq!(read(r#"{"channel":null,"disconnect":{"user":7}}"#).unwrap_err(), EnvelopeError::Channel);
    assert_eq!(read(r#"{"channel":"a","disconnect":{"user":7}}"#).unwrap_err(), EnvelopeError::Data);
}

#[test]
fn events_have_golden_bytes() {
    let event = Event {
        channel: ChannelName::new("chat:\"山\"").unwrap(),
        sender: Sender { name: "Aoi \\ 1".into(), id: (-7).into() },
        data: Bytes::from_static(br#"{"message": "hi"}"#),
        message_type: None,
        trace: None,
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
fn an_envelope_written_by_php_is_accepted() {
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
    let Decoded { dispatch, .. } = decode_event(&payload, &NodeId::from_number(1), &system()).unwrap();
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
    assert_eq!(read(r#"{"channel":"b","data":{},"data":7}"#).unwrap_err(), EnvelopeError::Data);
}

#[test]
fn a_sender_is_optional_but_must_be_complete() {
    let sender = |text: &str| {
        read(format!(r#"{{"channel":"a","data":{{}},"sender":{text}}}"#)).map(|(event, _)| event.sender)
    };
    assert_eq!(sender("null"), Ok(system()));
    assert_eq!(sender(r#"{"id":7,"name":"\u0041","age":[]}"#), Ok(Sender { name: "A".into(), id: 7.into() }));
    for text in ["{}", "[]", "7", r#"{"name":"A"}"#, r#"{"name":"A","id":""}"#, r#"{"name":"A","id":7.0}"#] {
        assert_eq!(sender(text), Err(EnvelopeError::Sender), "{text}");
    }
}

#[test]
fn a_type_is_optional_and_travels_between_nodes() {
    let read = |text: &str| {
        let read = read(format!(r#"{{"channel":"a","data":{{}},"type":{text}}}"#));
        read.map(|(event, _)| event.message_type.as_deref().map(ToOwned::to_owned))
    };
    for text in ["null", r#""message""#, r#""m\u0065ssage""#] {
        assert_eq!(read(text), Ok(None), "{text}");
    }
    assert_eq!(read(r#""job\u002eDone \u5c71""#), Ok(Some("job.Done 山".into())));
    for text in ["7", "true", "{}", r#"["job"]"#, r#""\ud800""#] {
        assert_eq!(read(text), Err(EnvelopeError::Type), "{text}");
    }
    let (event, _) = self::read(r#"{"channel":"a","data":{},"type":"a\"b"}"#).unwrap();
    let mut envelope = begin_event(&event, &NodeId::from_number(0xab));
    finish(&mut envelope, 12);
    assert_eq!(
        std::str::from_utf8(&envelope).unwrap(),
        r#"{"channel":"a","data":{},"sender":{"name":"System","id":0},"type":"a\"b","node":"00000000000000ab","seq":12}"#
    );
}

#[test]
fn a_trace_travels_between_nodes_if_it_is_sampled() {
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let read = |trace: &str| {
        let (event, _) = read(format!(r#"{{"channel":"a","data":{{}},"traceparent":{trace}}}"#)).unwrap();
        event
    };
    let written = |event: &Event| {
        let mut envelope = begin_event(event, &NodeId::from_number(0xab));
        finish(&mut envelope, 12);
        String::from_utf8(envelope).unwrap()
    };
    let event = read(&format!("{sampled:?}"));
    assert_eq!(event.trace.as_ref().unwrap().to_string(), sampled);
    let expected = format!(r#","traceparent":"{sampled}","node":"00000000000000ab","seq":12}}"#);
    assert!(written(&event).ends_with(&expected), "{}", written(&event));
    for none in ["null", "7", "{}", "\"nonsense\"", &format!("{:?}", sampled.replace("-01", "-00"))] {
        assert_eq!(read(none).trace, None, "{none}");
    }
    let unsampled = sampled.replace("-01", "-00").parse().unwrap();
    assert!(!written(&event.with_trace(Some(unsampled))).contains("traceparent"));
}

#[test]
fn every_invalid_payload_has_its_error() {
    for (payload, reason) in [
        (&b""[..], EnvelopeError::Json),
        (b"{", EnvelopeError::Json),
        (b"{\"channel\":\"a\",\"data\":{}} x", EnvelopeError::Json),
        (b"{\"channel\":\"a\",\"data\":{'a':1}}", EnvelopeError::Json),
        (b"{\"channel\":\"\xff\",\"data\":{}}", EnvelopeError::Json),
        (b"null", EnvelopeError::Envelope),
        (b"[]", EnvelopeError::Envelope),
        (b"\"text\"", EnvelopeError::Envelope),
        (b"7", EnvelopeError::Envelope),
        (b"{}", EnvelopeError::Channel),
        (b"{\"channel\":7,\"data\":{}}", EnvelopeError::Channel),
        (b"{\"channel\":null,\"data\":{}}", EnvelopeError::Channel),
        (b"{\"channel\":\"\",\"data\":{}}", EnvelopeError::Channel),
        (b"{\"channel\":\"a\\nb\",\"data\":{}}", EnvelopeError::Channel),
        (b"{\"channel\":\"\\ud800\",\"data\":{}}", EnvelopeError::Channel),
        (b"{\"channel\":\"a\"}", EnvelopeError::Data),
        (b"{\"channel\":\"a\",\"data\":[1]}", EnvelopeError::Data),
        (b"{\"channel\":\"a\",\"data\":null}", EnvelopeError::Data),
        (b"{\"channel\":\"a\",\"data\":\"{}\"}", EnvelopeError::Data),
        (b"{\"channel\":\"a\",\"data\":{},\"type\":7}", EnvelopeError::Type),
    ] {
        assert_eq!(read(payload).unwrap_err(), reason, "{}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn depth_and_size_are_harmless() {
    let deep = "[".repeat(1_000_000);
    assert_eq!(read(deep.clone()).unwrap_err(), EnvelopeError::Envelope);
    assert_eq!(read(format!(r#"{{"x":{deep}"#)).unwrap_err(), EnvelopeError::Json);
    let nested = format!("{}{}", r#"{"a":"#.repeat(300_000), "1".to_owned() + &"}".repeat(300_000));
    let (event, _) = read(format!(r#"{{"channel":"a","data":{nested}}}"#)).unwrap();
    assert_eq!(event.data.len(), nested.len());
    assert_eq!(read(vec![b'x'; 2 << 20]).unwrap_err(), EnvelopeError::Json);
}

#[test]
fn a_copy_of_another_node_has_no_number() {
    for node in [r#""00000000000000ac""#, "7", "null", "{}", r#""""#] {
        let text = format!(r#"{{"channel":"a","data":{{}},"node":{node},"seq":1}}"#);
        assert_eq!(read(text).unwrap().1, None, "{node}");
    }
    let text = r#"{"channel":"a","data":{},"node":"00000000000000ab","seq":"x"}"#;
    assert_eq!(read(text).unwrap().1, None);
}

proptest! {
    #[test]
    fn events_round_trip(channel in "\\P{Cc}{1,40}", name in any::<String>(), id in prop_oneof!["-?[1-9]{1,9}", "\"[a-z0-9-]{1,36}\""], seq: u64, text in any::<String>(), message_type in prop::option::of(any::<String>().prop_filter("it has a type", |text| text != "message"))) {
        let data = Bytes::from(serde_json::to_vec(&serde_json::json!({ "k": text })).unwrap());
        let event = Event {
            channel: ChannelName::new(&channel).unwrap(),
            sender: Sender { name: name.as_str().into(), id: UserId::from_json(&id).unwrap() },
            data: data.clone(),
            message_type: message_type.map(Into::into),
            trace: None,
        };
        let mut envelope = begin_event(&event, &NodeId::from_number(0xab));
        finish(&mut envelope, seq);
        let (read_back, own) = read(envelope).unwrap();
        prop_assert_eq!(read_back.channel, event.channel);
        prop_assert_eq!(read_back.sender.id.form(), event.sender.id.form());
        prop_assert_eq!(read_back.sender, event.sender);
        prop_assert_eq!(read_back.data, data);
        prop_assert_eq!(read_back.message_type, event.message_type);
        prop_assert_eq!(own, Some(seq));
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = outcome(payload);
    }

    #[test]
    fn corrupted_envelopes_never_panic(cut in 0usize..90, byte: u8) {
        let mut payload = br#"{"channel":"chat:","data":{"a":[1,2]},"sender":{"name":"A","id":1},"node":"x","seq":1}"#.to_vec();
        if let Some(place) = payload.get_mut(cut) { *place = byte; }
        let _ = outcome(payload);
    }
}
