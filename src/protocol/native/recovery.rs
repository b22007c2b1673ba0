//! What a client that asks for what it has missed is told.

use std::fmt;
use std::sync::LazyLock;

use crate::message::Frame;

/// An ID that proves nothing: a client that comes back with it is told of a gap.
const NOWHERE: &str = "0-0";

/// Announces the messages that the client has missed. They follow.
#[must_use]
pub fn encode_recovered(count: usize) -> Frame {
    Frame::text(&[format!(r#"{{"type":"recovered","count":{count}}}"#).as_bytes()])
}

/// The client has missed nothing up to this ID, which consists of characters that JSON does not escape.
#[must_use]
pub fn encode_up_to_date(id: &impl fmt::Display) -> Frame {
    Frame::text(&[format!(r#"{{"type":"recovered","count":0,"id":"{id}"}}"#).as_bytes()])
}

/// The client may have missed messages. What follows this ID is delivered; without one, that is unknown.
#[must_use]
pub fn encode_gap(id: Option<&impl fmt::Display>) -> Frame {
    let id: &dyn fmt::Display = match id {
        Some(id) => id,
        None => &NOWHERE,
    };
    Frame::text(&[format!(r#"{{"type":"gap","id":"{id}"}}"#).as_bytes()])
}

/// Messages may be missing at this place of the stream.
#[must_use]
pub fn encode_gap_while_connected() -> Frame {
    static GAP: LazyLock<Frame> = LazyLock::new(|| Frame::text(&[br#"{"type":"gap"}"#]));
    GAP.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Position;

    #[test]
    fn golden_frames() {
        let position: Position = "9f3c20-17".parse().unwrap();
        for (frame, text) in [
            (encode_recovered(12), r#"{"type":"recovered","count":12}"#),
            (encode_up_to_date(&position), r#"{"type":"recovered","count":0,"id":"9f3c20-17"}"#),
            (encode_gap(Some(&position)), r#"{"type":"gap","id":"9f3c20-17"}"#),
            (encode_gap(None::<&Position>), r#"{"type":"gap","id":"0-0"}"#),
            (encode_gap_while_connected(), r#"{"type":"gap"}"#),
        ] {
            assert_eq!(&frame.bytes()[2..], text.as_bytes());
        }
        assert!(NOWHERE.parse::<Position>().is_err());
    }
}
