use std::fmt::{Display, Write as _};

use bytes::{BufMut as _, BytesMut};
use memchr::memchr2;

use super::json::quoted;
use super::{Close, Frame};

/// Room for the names of the fields and an ID, in bytes.
const FIELDS: usize = 64;

/// The frames of `text/event-stream` (WHATWG HTML, section 9.2).
impl Frame {
    /// A server-sent event with these data, in parts. Clients remember the last ID, which must not have line breaks.
    #[must_use]
    pub fn event(id: Option<&dyn Display>, parts: &[&[u8]]) -> Self {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut wire = BytesMut::with_capacity(FIELDS + length);
        if let Some(id) = id {
            // Memory can always be written to.
            let _ = writeln!(wire, "id: {id}");
        }
        put_data(&mut wire, parts);
        Self::from_wire(wire.freeze())
    }

    /// The event that ends a stream. It says what a WebSocket close frame does.
    #[must_use]
    pub fn close_event(close: &Close) -> Self {
        let data = format!(r#"{{"code":{},"reason":{}}}"#, close.code, quoted(close.reason));
        let mut wire = BytesMut::with_capacity(FIELDS + data.len());
        wire.put_slice(b"event: close\n");
        put_data(&mut wire, &[data.as_bytes()]);
        Self::from_wire(wire.freeze())
    }

    /// A comment, which clients ignore. It must not have line breaks.
    #[must_use]
    pub fn comment(text: &str) -> Self {
        Self::from_wire(format!(": {text}\n\n").into())
    }
}

/// Each line of the data is a field of its own. JSON has line breaks only between its tokens.
fn put_data(wire: &mut BytesMut, parts: &[&[u8]]) {
    wire.put_slice(b"data: ");
    for part in parts {
        let mut rest = *part;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, more) = rest.split_at(end);
            wire.put_slice(line);
            wire.put_slice(b"\ndata: ");
            rest = more.get(1..).unwrap_or_default();
        }
        wire.put_slice(rest);
    }
    wire.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Reconnect;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.bytes()).unwrap()
    }

    /// What a client makes of the data.
    fn data(frame: &Frame) -> String {
        let lines: Vec<&str> = text(frame).lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        lines.join("\n")
    }

    #[test]
    fn golden_events() {
        assert_eq!(text(&Frame::event(None, &[b"{\"a\":", b"1}"])), "data: {\"a\":1}\n\n");
        assert_eq!(text(&Frame::event(Some(&"9f3c20-17"), &[b"{}"])), "id: 9f3c20-17\ndata: {}\n\n");
        assert_eq!(text(&Frame::comment("heartbeat 30")), ": heartbeat 30\n\n");
        let close = Close {
            code: 4401,
            reason: "token expired",
            label: "token_expired",
            reconnect: Reconnect::Never,
        };
        assert_eq!(
            text(&Frame::close_event(&close)),
            "event: close\ndata: {\"code\":4401,\"reason\":\"token expired\"}\n\n"
        );
    }

    #[test]
    fn no_line_of_the_data_is_taken_for_a_field() {
        let frame = Frame::event(None, &[b"{\n\"a\":\r\n1,\r", b"\"b\":2\n}"]);
        assert_eq!(text(&frame), "data: {\ndata: \"a\":\ndata: \ndata: 1,\ndata: \"b\":2\ndata: }\n\n");
    }

    proptest! {
        #[test]
        fn the_data_arrive_with_other_line_breaks_at_most(parts in prop::collection::vec("[a-z:\n\r 山]{0,9}", 0..5)) {
            let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let frame = Frame::event(None, &parts);
            let whole = String::from_utf8(parts.concat()).unwrap();
            prop_assert_eq!(data(&frame), whole.replace('\r', "\n"));
            // The event ends where it ends, and nowhere before.
            prop_assert_eq!(text(&frame).find("\n\n"), Some(frame.bytes().len() - 2));
        }
    }
}
