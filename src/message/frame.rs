use bytes::{Buf as _, Bytes, BytesMut};

use super::Close;

/// Bytes that are ready for a wire, including the header of the transport. Cloning shares them.
///
/// The WebSocket frames of a server are not masked (RFC 6455, section 5.1), so that the same bytes serve every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// The longest header of an unmasked frame, in bytes.
const MAX_HEADER: usize = 10;

impl Frame {
    /// A WebSocket text message, made of these parts.
    #[must_use]
    pub fn text(parts: &[&[u8]]) -> Self {
        Self::encode(TEXT, parts)
    }

    /// A WebSocket text message of about `length` bytes, which `write` appends to a buffer.
    #[must_use]
    pub fn text_with(length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::write(TEXT, length, write)
    }

    #[must_use]
    pub fn binary(payload: &[u8]) -> Self {
        Self::encode(BINARY, &[payload])
    }

    /// A WebSocket ping without payload.
    #[must_use]
    pub fn ping() -> Self {
        Self(Bytes::from_static(&[FINAL | PING, 0]))
    }

    /// A WebSocket ping, which is answered with the same payload. At most 125 bytes.
    #[must_use]
    pub fn ping_with(payload: &[u8]) -> Self {
        Self::encode(PING, &[payload])
    }

    /// A WebSocket close frame.
    #[must_use]
    pub fn close(close: &Close) -> Self {
        Self::encode(CLOSE, &[&close.code.to_be_bytes(), close.reason.as_bytes()])
    }

    /// Wraps bytes that are whole frames.
    #[must_use]
    pub fn from_wire(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes of several frames, one after the other.
    #[must_use]
    pub fn concatenate<'a>(frames: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut rest = frames.clone();
        if let (Some(only), None) = (rest.next(), rest.next()) {
            return only.clone();
        }
        let length = frames.clone().map(|frame| frame.0.len()).sum();
        let mut wire = BytesMut::with_capacity(length);
        for frame in frames {
            wire.extend_from_slice(&frame.0);
        }
        Self(wire.freeze())
    }

    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    fn encode(opcode: u8, parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        Self::write(opcode, length, |wire| parts.iter().for_each(|part| wire.extend_from_slice(part)))
    }

    /// `length`: about how many bytes `payload` appends.
    fn write(opcode: u8, length: usize, payload: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut wire = Vec::with_capacity(MAX_HEADER + length);
        // The length of the header depends on that of the payload.
        wire.extend_from_slice(&[0; MAX_HEADER]);
        payload(&mut wire);
        let length = wire.len() - MAX_HEADER;
        let mut put_header = |header: &[u8]| {
            let start = MAX_HEADER - header.len();
            if let Some(room) = wire.get_mut(start..MAX_HEADER) {
                room.copy_from_slice(header);
            }
            start
        };
        let opcode = FINAL | opcode;
        // The three forms of RFC 6455, section 5.2.
        let start = match (u8::try_from(length), u16::try_from(length).map(u16::to_be_bytes)) {
            (Ok(short @ ..=125), _) => put_header(&[opcode, short]),
            (_, Ok([high, low])) => put_header(&[opcode, 126, high, low]),
            _ => put_header(&[&[opcode, 127][..], &(length as u64).to_be_bytes()].concat()),
        };
        let mut wire = Bytes::from(wire);
        wire.advance(start);
        Self(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Reconnect;

    #[test]
    fn headers_have_the_shortest_form() {
        assert_eq!(Frame::text(&[b"h", b"i"]).bytes().as_ref(), b"\x81\x02hi");
        for (length, header) in [
            (0, &b"\x81\x00"[..]),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let frame = Frame::text(&[&vec![b'x'; length]]);
            assert_eq!(frame.bytes().len(), header.len() + length);
            assert!(frame.bytes().starts_with(header), "{length}");
        }
    }

    #[test]
    fn control_frames() {
        assert_eq!(Frame::ping().bytes().as_ref(), b"\x89\x00");
        let close =
            Close { code: 1001, reason: "going away", label: "going_away", reconnect: Reconnect::AtOnce };
        assert_eq!(Frame::close(&close).bytes().as_ref(), b"\x88\x0c\x03\xe9going away");
        assert_eq!(Frame::binary(b"\0").bytes().as_ref(), b"\x82\x01\x00");
    }
}
