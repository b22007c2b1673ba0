//! Several messages that are stored on the same channels and travel as one: `{"run":[ENVELOPE,…],"stored":"…"}`. Where the first one is
//! stored is where the script says; each of the others follows the one before it, on every channel.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::decode::{EnvelopeError, envelope_members};
use super::stored_text::parse_stored;
use crate::message::Stored;

const START: &[u8] = b"{\"run\":[";

/// The envelope of several messages, of envelopes that lack their final braces. It lacks its own as well.
pub(in crate::broker) fn begin_run<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = START.to_vec();
    for (index, message) in messages.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(message);
        out.push(b'}');
    }
    out.push(b']');
    out
}

pub(in crate::broker) fn is_run(payload: &[u8]) -> bool {
    payload.starts_with(START)
}

/// The envelopes of a run, which are slices of the payload, and where each is stored.
pub(in crate::broker) fn split_run(payload: &Bytes) -> Result<Vec<(Bytes, Box<Stored>)>, EnvelopeError> {
    let [run, stored] = envelope_members(payload, ["run", "stored"])?;
    let messages: Vec<&RawValue> =
        run.and_then(|run| serde_json::from_str(run).ok()).ok_or(EnvelopeError::Run)?;
    let first = stored.and_then(parse_stored).ok_or(EnvelopeError::Run)?;
    (0..)
        .zip(messages)
        .map(|(index, message)| {
            let stored = first.nth(index).ok_or(EnvelopeError::Run)?;
            Ok((payload.slice_ref(message.get().as_bytes()), Box::new(stored)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(messages: &[&str], stored: &str) -> Bytes {
        let mut payload = begin_run(messages.iter().map(|message| message.as_bytes()));
        payload.extend_from_slice(format!(",\"stored\":\"{stored}\"}}").as_bytes());
        payload.into()
    }

    #[test]
    fn messages_of_a_run_follow_each_other_on_every_channel() {
        let payload = closed(&["{\"a\":1", "{\"b\":\" ] \"", "{"], "9f 12 1764126400000 0:a-3:7 2:b-1:0");
        assert!(is_run(&payload));
        let run = split_run(&payload).unwrap();
        for (index, text) in ["{\"a\":1}", "{\"b\":\" ] \"}", "{}"].iter().enumerate() {
            let (message, stored) = &run[index];
            assert_eq!(&message[..], text.as_bytes());
            assert!(payload.as_ptr_range().contains(&message.as_ptr()), "it was copied");
            let index = index as u64;
            assert_eq!((stored.store, stored.number, stored.at), (0x9f, 12 + index, 1_764_126_400_000));
            let offsets: Vec<(u16, u64)> =
                stored.positions.iter().map(|(place, position)| (*place, position.offset.get())).collect();
            assert_eq!(offsets, [(0, 3 + index), (2, 1 + index)]);
        }
    }

    #[test]
    fn what_is_not_a_run_is_an_error() {
        for payload in [
            &b"{\"run\":[{}]}"[..],
            b"{\"run\":[{}],\"stored\":\"9f 1 1\"}",
            b"{\"run\":[{}],\"stored\":\"9f 18446744073709551615 1 0:a-18446744073709551615:1\"",
            b"{\"run\":[{},{}],\"stored\":\"9f 18446744073709551615 1 0:a-1:1\"}",
            b"{\"run\":[{},{}],\"stored\":\"9f 1 1 0:a-18446744073709551615:1\"}",
            b"{\"run\":[{},],\"stored\":\"9f 1 1 0:a-1:1\"}",
            b"{\"run\":[",
        ] {
            assert!(split_run(&Bytes::from_static(payload)).is_err(), "{}", String::from_utf8_lossy(payload));
        }
        assert!(!is_run(b"{\"channel\":\"a\"}"));
    }
}
