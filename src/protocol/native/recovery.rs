//! What a client that asks for what it has missed is told.

use std::fmt;

use super::encodings::frame;
use crate::message::{Encoding, Frame};

/// An ID that proves nothing: a client that comes back with it is told of a gap.
const NOWHERE: &str = "0-0";

/// Announces the messages that the client has missed. They follow.
#[must_use]
pub fn encode_recovered(count: usize, encoding: Encoding) -> Frame {
    frame(encoding, None, &[format!(r#"{{"type":"recovered","count":{count}}}"#).as_bytes()])
}

/// The client has missed nothing up to this ID, which consists of characters that JSON does not escape.
#[must_use]
pub fn encode_up_to_date(id: &impl fmt::Display, encoding: Encoding) -> Frame {
    frame(encoding, Some(id), &[format!(r#"{{"type":"recovered","count":0,"id":"{id}"}}"#).as_bytes()])
}

/// The client may have missed messages. What follows this ID is delivered; without one, that is unknown.
#[must_use]
pub fn encode_gap(id: Option<&impl fmt::Display>, encoding: Encoding) -> Frame {
    let id: &dyn fmt::Display = match id {
        Some(id) => id,
        None => &NOWHERE,
    };
    frame(encoding, Some(id), &[format!(r#"{{"type":"gap","id":"{id}"}}"#).as_bytes()])
}

/// Messages may be missing at this place of the stream. What follows this ID is delivered; without one, that is unknown.
#[must_use]
pub fn encode_gap_while_connected(id: Option<&impl fmt::Display>, encoding: Encoding) -> Frame {
    if id.is_some() { encode_gap(id, encoding) } else { frame(encoding, None, &[br#"{"type":"gap"}"#]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Position;
    use crate::protocol::native::{ENCODING, SSE};

    #[test]
    fn golden_frames() {
        let position: Position = "9f3c20-17".parse().unwrap();
        for (frame, text) in [
            (encode_recovered(12, ENCODING), r#"{"type":"recovered","count":12}"#),
            (encode_up_to_date(&position, ENCODING), r#"{"type":"recovered","count":0,"id":"9f3c20-17"}"#),
            (encode_gap(Some(&position), ENCODING), r#"{"type":"gap","id":"9f3c20-17"}"#),
            (encode_gap(None::<&Position>, ENCODING), r#"{"type":"gap","id":"0-0"}"#),
            (encode_gap_while_connected(Some(&position), ENCODING), r#"{"type":"gap","id":"9f3c20-17"}"#),
            (encode_gap_while_connected(None::<&Position>, ENCODING), r#"{"type":"gap"}"#),
        ] {
            assert_eq!(&frame.bytes()[2..], text.as_bytes());
        }
        assert!(NOWHERE.parse::<Position>().is_err());
        // A client of server-sent events comes back with the ID.
        for (event, id) in [
            (encode_up_to_date(&position, SSE), Some("id: 9f3c20-17\n")),
            (encode_gap(Some(&position), SSE), Some("id: 9f3c20-17\n")),
            (encode_gap(None::<&Position>, SSE), Some("id: 0-0\n")),
            (encode_recovered(12, SSE), None),
            (encode_gap_while_connected(None::<&Position>, SSE), None),
        ] {
            let start = id.unwrap_or("data: ");
            assert!(event.bytes().starts_with(start.as_bytes()), "{event:?}");
        }
    }
}
