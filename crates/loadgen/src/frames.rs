use std::io::Cursor;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

/// More than any message of a run.
const MAX_PAYLOAD: u64 = 1 << 26;

/// Parses the frames of one connection, without a copy if a frame arrives whole. Keeps only bytes of unfinished messages.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    rest: Vec<u8>,
    /// A message in several frames, as far as it has arrived.
    fragments: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFrame<'a> {
    /// A text or binary message.
    Message(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The payload has the code and the reason.
    Close(&'a [u8]),
}

/// The server does not speak WebSocket.
#[derive(Debug)]
pub(super) struct FrameError;

impl FrameReader {
    /// Calls `receive` for everything that these bytes complete.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut receive: impl FnMut(ServerFrame<'_>),
    ) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            let used = self.read(bytes, &mut receive)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let used = self.read(&all, &mut receive)?;
        all.drain(..used);
        // Idle connections keep no buffer.
        self.rest = if all.is_empty() { Vec::new() } else { all };
        Ok(())
    }

    /// Parses the complete frames. Returns their length.
    fn read(&mut self, bytes: &[u8], receive: &mut impl FnMut(ServerFrame<'_>)) -> Result<usize, FrameError> {
        let mut used = 0;
        while let Some((header, payload, length)) = parse_frame(bytes.get(used..).unwrap_or_default())? {
            used += length;
            self.frame(&header, payload, receive)?;
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        receive: &mut impl FnMut(ServerFrame<'_>),
    ) -> Result<(), FrameError> {
        match (header.opcode, &mut self.fragments) {
            (OpCode::Control(Control::Ping), _) => receive(ServerFrame::Ping(payload)),
            (OpCode::Control(Control::Pong), _) => {}
            (OpCode::Control(Control::Close), _) => receive(ServerFrame::Close(payload)),
            (OpCode::Data(Data::Text | Data::Binary), None) if header.is_final => {
                receive(ServerFrame::Message(payload));
            }
            (OpCode::Data(Data::Text | Data::Binary), None) => self.fragments = Some(payload.to_vec()),
            (OpCode::Data(Data::Continue), Some(message)) => {
                if (message.len() + payload.len()) as u64 > MAX_PAYLOAD {
                    return Err(FrameError);
                }
                message.extend_from_slice(payload);
                if header.is_final {
                    receive(ServerFrame::Message(message));
                    self.fragments = None;
                }
            }
            _ => return Err(FrameError),
        }
        Ok(())
    }
}

/// Parses the first message and returns its length, or `None` if it is incomplete. It must be a single frame, as short
/// messages are.
pub(super) fn parse_first(bytes: &[u8]) -> Result<Option<(ServerFrame<'_>, usize)>, FrameError> {
    let Some((header, payload, length)) = parse_frame(bytes)? else { return Ok(None) };
    let received = match header.opcode {
        OpCode::Data(Data::Text | Data::Binary) if header.is_final => ServerFrame::Message(payload),
        OpCode::Control(Control::Ping) => ServerFrame::Ping(payload),
        OpCode::Control(Control::Close) => ServerFrame::Close(payload),
        _ => return Err(FrameError),
    };
    Ok(Some((received, length)))
}

/// Writes a masked frame.
pub(super) fn write(opcode: OpCode, payload: &[u8], to: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some(rand::random()), ..FrameHeader::default() };
    let frame = Frame::from_payload(header, payload.to_vec().into());
    // Writing to memory cannot fail.
    let _ = frame.format(to);
}

/// The code and the reason of a close frame.
pub(super) fn describe_close(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            format!("{} {reason}", u16::from_be_bytes(*code)).trim_end().to_owned()
        }
        None => "1005 without a code".to_owned(),
    }
}

/// Header, payload, and the length of both.
type ParsedFrame<'a> = (FrameHeader, &'a [u8], usize);

/// Parses the first frame, or returns `None` if it is incomplete.
fn parse_frame(bytes: &[u8]) -> Result<Option<ParsedFrame<'_>>, FrameError> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| FrameError)? else {
        return Ok(None);
    };
    // A server must not mask its frames (RFC 6455, section 5.1).
    if length > MAX_PAYLOAD || header.mask.is_some() {
        return Err(FrameError);
    }
    let start = usize::try_from(cursor.position()).map_err(|_| FrameError)?;
    let end = start.saturating_add(usize::try_from(length).map_err(|_| FrameError)?);
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

    fn read(frames: &mut FrameReader, bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let mut got = Vec::new();
        frames.feed(bytes, |received| got.push(format!("{received:?}"))).map(|()| got)
    }

    proptest! {
        #[test]
        fn messages_are_read_whatever_the_chunks(
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
                expected.push(format!("{:?}", ServerFrame::Ping(b"p")));
                expected.push(format!("{:?}", ServerFrame::Message(message)));
                expected.push(format!("{:?}", ServerFrame::Message(message)));
            }
            let (mut frames, mut got) = (FrameReader::default(), Vec::new());
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
            let mut frames = FrameReader::default();
            for chunk in junk.chunks(7) { let _ = read(&mut frames, chunk); }
        }
    }

    #[test]
    fn the_first_message_is_parsed_with_its_length() {
        let (one, other) =
            (frame(OpCode::Data(Data::Text), b"one", true), frame(OpCode::Control(Control::Ping), b"", true));
        let both = [&one[..], &other].concat();
        assert_eq!(parse_first(&both).unwrap(), Some((ServerFrame::Message(b"one"), one.len())));
        assert_eq!(parse_first(&both[one.len()..]).unwrap(), Some((ServerFrame::Ping(b""), other.len())));
        assert_eq!(parse_first(&one[..4]).unwrap(), None);
        assert!(parse_first(&frame(OpCode::Data(Data::Text), b"one", false)).is_err());
    }

    #[test]
    fn masked_oversized_and_unknown_frames_are_errors() {
        for bytes in
            [&b"\x80\x00"[..], b"\x81\x80....", b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b"\x83\x00"]
        {
            assert!(read(&mut FrameReader::default(), bytes).is_err(), "{bytes:?}");
        }
    }
}
