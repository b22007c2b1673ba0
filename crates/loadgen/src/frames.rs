//! Reads a server's frames out of a stream of bytes, without a copy where a frame came whole, and writes a client's.

use std::io::Cursor;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

/// More than any message that the benchmark sends.
const MAX_PAYLOAD: u64 = 1 << 26;

/// The reader of one connection. It keeps only what has come of an unfinished message.
#[derive(Debug, Default)]
pub(super) struct Frames {
    rest: Vec<u8>,
    /// The parts so far of a message in several frames.
    fragments: Option<Vec<u8>>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A text or binary message.
    Message(&'a [u8]),
    /// Has to be answered with the same bytes.
    Ping(&'a [u8]),
    /// The end: the payload has the code and the reason.
    Close(&'a [u8]),
}

/// The server does not speak WebSocket.
#[derive(Debug)]
pub(super) struct Malformed;

impl Frames {
    /// Takes the next bytes and hands on what they complete.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut receive: impl FnMut(Received<'_>),
    ) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            let used = self.read(bytes, &mut receive)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let used = self.read(&all, &mut receive)?;
        all.drain(..used);
        // An idle connection keeps no buffer.
        self.rest = if all.is_empty() { Vec::new() } else { all };
        Ok(())
    }

    /// Reads the whole frames; says how many bytes they have.
    fn read(&mut self, bytes: &[u8], receive: &mut impl FnMut(Received<'_>)) -> Result<usize, Malformed> {
        let mut used = 0;
        while let Some((header, payload, length)) = split(bytes.get(used..).unwrap_or_default())? {
            used += length;
            self.frame(&header, payload, receive)?;
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        receive: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Malformed> {
        match (header.opcode, &mut self.fragments) {
            (OpCode::Control(Control::Ping), _) => receive(Received::Ping(payload)),
            (OpCode::Control(Control::Pong), _) => {}
            (OpCode::Control(Control::Close), _) => receive(Received::Close(payload)),
            (OpCode::Data(Data::Text | Data::Binary), None) if header.is_final => {
                receive(Received::Message(payload));
            }
            (OpCode::Data(Data::Text | Data::Binary), None) => self.fragments = Some(payload.to_vec()),
            (OpCode::Data(Data::Continue), Some(message)) => {
                if (message.len() + payload.len()) as u64 > MAX_PAYLOAD {
                    return Err(Malformed);
                }
                message.extend_from_slice(payload);
                if header.is_final {
                    receive(Received::Message(message));
                    self.fragments = None;
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// The first message of these bytes, and how many of them it has; none if it has not come whole. It has to be in one
/// frame, which is how servers send what is short.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Received<'_>, usize)>, Malformed> {
    let Some((header, payload, length)) = split(bytes)? else { return Ok(None) };
    let received = match header.opcode {
        OpCode::Data(Data::Text | Data::Binary) if header.is_final => Received::Message(payload),
        OpCode::Control(Control::Ping) => Received::Ping(payload),
        OpCode::Control(Control::Close) => Received::Close(payload),
        _ => return Err(Malformed),
    };
    Ok(Some((received, length)))
}

/// Writes a frame as a client does.
pub(super) fn write(opcode: OpCode, payload: &[u8], to: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some(rand::random()), ..FrameHeader::default() };
    let frame = Frame::from_payload(header, payload.to_vec().into());
    // Writing to memory does not fail.
    let _ = frame.format(to);
}

/// The code and the reason in the payload of a close frame.
pub(super) fn close_in_words(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            format!("{} {reason}", u16::from_be_bytes(*code)).trim_end().to_owned()
        }
        None => "1005 without a code".to_owned(),
    }
}

/// A frame: its header, its payload, and its length in all.
type Whole<'a> = (FrameHeader, &'a [u8], usize);

/// The first frame; none if it has not come whole.
fn split(bytes: &[u8]) -> Result<Option<Whole<'_>>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| Malformed)? else {
        return Ok(None);
    };
    // A server's frames are not masked (RFC 6455, section 5.1).
    if length > MAX_PAYLOAD || header.mask.is_some() {
        return Err(Malformed);
    }
    let start = usize::try_from(cursor.position()).map_err(|_| Malformed)?;
    let end = start.saturating_add(usize::try_from(length).map_err(|_| Malformed)?);
    Ok(bytes.get(start..end).map(|payload| (header, payload, end)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    fn read(frames: &mut Frames, bytes: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut got = Vec::new();
        frames.feed(bytes, |received| got.push(format!("{received:?}"))).map(|()| got)
    }

    proptest! {
        #[test]
        fn messages_come_whole_however_the_bytes_come(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            cuts in prop::collection::vec(1usize..200, 1..20),
        ) {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for message in &messages {
                let (first, second) = message.split_at(message.len() / 2);
                stream.extend(frame(OpCode::Data(Data::Text), first, false));
                stream.extend(frame(OpCode::Control(Control::Ping), b"p", true));
                stream.extend(frame(OpCode::Data(Data::Continue), second, true));
                stream.extend(frame(OpCode::Data(Data::Binary), message, true));
                expected.push(format!("{:?}", Received::Ping(b"p")));
                expected.push(format!("{:?}", Received::Message(message)));
                expected.push(format!("{:?}", Received::Message(message)));
            }
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            let mut rest = &stream[..];
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                got.extend(read(&mut frames, now).unwrap());
                rest = later;
            }
            prop_assert_eq!(got, expected);
            prop_assert!(frames.rest.is_empty());
        }

        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut frames = Frames::default();
            for chunk in junk.chunks(7) { let _ = read(&mut frames, chunk); }
        }
    }

    #[test]
    fn the_first_of_several_is_told_with_its_length() {
        let (one, other) =
            (frame(OpCode::Data(Data::Text), b"one", true), frame(OpCode::Control(Control::Ping), b"", true));
        let both = [&one[..], &other].concat();
        assert_eq!(first(&both).unwrap(), Some((Received::Message(b"one"), one.len())));
        assert_eq!(first(&both[one.len()..]).unwrap(), Some((Received::Ping(b""), other.len())));
        assert_eq!(first(&one[..4]).unwrap(), None);
        assert!(first(&frame(OpCode::Data(Data::Text), b"one", false)).is_err());
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for bytes in
            [&b"\x80\x00"[..], b"\x81\x80....", b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b"\x83\x00"]
        {
            assert!(read(&mut Frames::default(), bytes).is_err(), "{bytes:?}");
        }
    }
}
