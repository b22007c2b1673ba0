use std::fmt::Display;

use crate::message::{Encoding, Frame};

/// Text messages in WebSocket frames.
pub const ENCODING: Encoding = Encoding::new(0);

/// The same frames, for connections that are also told of gaps.
pub const WITH_GAPS: Encoding = Encoding::new(4);

/// The same texts in server-sent events.
pub const SSE: Encoding = Encoding::new(5);

/// The same events, for connections that are also told of gaps.
pub const SSE_WITH_GAPS: Encoding = Encoding::new(6);

pub const ENCODINGS: [Encoding; 4] = [ENCODING, WITH_GAPS, SSE, SSE_WITH_GAPS];

/// The encoding that has the same bytes for a message.
#[must_use]
pub fn message_encoding(encoding: Encoding) -> Encoding {
    if is_sse(encoding) { SSE } else { ENCODING }
}

/// Whether clients of this encoding are told of gaps in the stream.
#[must_use]
pub fn tells_gaps(encoding: Encoding) -> bool {
    [WITH_GAPS, SSE_WITH_GAPS].contains(&encoding)
}

/// A text, given in parts, for the clients of an encoding. `id`: the one in the text, where it has one.
pub(super) fn frame(encoding: Encoding, id: Option<&dyn Display>, text: &[&[u8]]) -> Frame {
    if is_sse(encoding) { Frame::event(id, text) } else { Frame::text(text) }
}

/// The same for a text of about `length` bytes that `write` appends to a buffer.
pub(super) fn frame_with(
    encoding: Encoding,
    id: Option<&dyn Display>,
    length: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Frame {
    if !is_sse(encoding) {
        return Frame::text_with(length, write);
    }
    let mut text = Vec::with_capacity(length);
    write(&mut text);
    Frame::event(id, &[&text])
}

fn is_sse(encoding: Encoding) -> bool {
    [SSE, SSE_WITH_GAPS].contains(&encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_on_both_transports() {
        let text: [&[u8]; 2] = [b"{\"type\":\"gap\",", b"\"id\":\"a-1\"}"];
        for encoding in [ENCODING, WITH_GAPS] {
            assert_eq!(frame(encoding, Some(&"a-1"), &text), Frame::text(&text));
        }
        for encoding in [SSE, SSE_WITH_GAPS] {
            let event = frame(encoding, Some(&"a-1"), &text);
            assert_eq!(event.bytes().as_ref(), b"id: a-1\ndata: {\"type\":\"gap\",\"id\":\"a-1\"}\n\n");
        }
    }

    #[test]
    fn gaps_do_not_change_the_bytes_of_a_message() {
        assert_eq!(ENCODINGS.map(message_encoding), [ENCODING, ENCODING, SSE, SSE]);
        assert_eq!(ENCODINGS.map(tells_gaps), [false, true, false, true]);
    }
}
