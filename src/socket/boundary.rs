use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Follows the frames in a byte stream, to know when a whole message has passed and nothing of the next has
/// come: only then may the WebSocket context be dropped, which is what makes an idle connection small.
///
/// It judges nothing. Of a stream that breaks the protocol it may say anything; the context refuses that.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// The first bytes of a header that came in pieces.
    header: [u8; MAX_HEADER],
    header_length: u8,
    /// The last data frame was not the last of its message.
    fragmented: bool,
    /// What is still to come of the current frame's payload.
    payload: u64,
}

/// The longest header of a masked frame (RFC 6455, section 5.2).
const MAX_HEADER: usize = 14;

impl Boundary {
    /// Takes the next bytes of the stream and says whether they end between two messages.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return self.payload == 0 && self.header_length == 0 && !self.fragmented;
            }
            let Some(used) = self.header(bytes) else { return false };
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    /// Reads a header from what was kept and these bytes; returns how many of these it used.
    fn header(&mut self, bytes: &[u8]) -> Option<usize> {
        let kept = usize::from(self.header_length);
        let room = self.header.get_mut(kept..)?;
        let taken = room.len().min(bytes.len());
        room.get_mut(..taken)?.copy_from_slice(bytes.get(..taken)?);
        let mut cursor = Cursor::new(self.header.get(..kept + taken)?);
        match FrameHeader::parse(&mut cursor) {
            Ok(Some((header, length))) => {
                let end = usize::try_from(cursor.position()).ok()?;
                self.header_length = 0;
                self.payload = length;
                if let OpCode::Data(Data::Text | Data::Binary | Data::Continue) = header.opcode {
                    self.fragmented = !header.is_final;
                }
                end.checked_sub(kept)
            }
            Ok(None) => {
                self.header_length = u8::try_from(kept + taken).ok()?;
                Some(taken)
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::frame::Frame;

    use super::*;

    fn frame(opcode: OpCode, payload: Vec<u8>, is_final: bool, masked: bool) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
        let mut frame = Frame::from_payload(header, payload.into());
        frame.header_mut().mask = masked.then_some([1, 2, 3, 4]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    /// A message: fragments, with control frames between them.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..200),
            1 => prop::collection::vec(any::<u8>(), 65_530..65_540),
        ];
        (prop::collection::vec((payload, any::<bool>()), 1..4), any::<bool>()).prop_map(|(parts, masked)| {
            let last = parts.len() - 1;
            let mut bytes = Vec::new();
            for (index, (payload, ping)) in parts.into_iter().enumerate() {
                let opcode = if index == 0 { Data::Text } else { Data::Continue };
                bytes.extend(frame(OpCode::Data(opcode), payload, index == last, masked));
                if ping && index != last {
                    let control = OpCode::Control(tungstenite::protocol::frame::coding::Control::Ping);
                    bytes.extend(frame(control, vec![1], true, masked));
                }
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn it_finds_each_end_of_a_message_however_the_bytes_come(
            messages in prop::collection::vec(message(), 1..4),
            cuts in prop::collection::vec(1usize..40, 1..50),
        ) {
            let mut ends = vec![0];
            for message in &messages { ends.push(ends[ends.len() - 1] + message.len()); }
            let stream = messages.concat();
            let mut boundary = Boundary::default();
            let mut position = 0;
            let mut cuts = cuts.into_iter().cycle();
            while position < stream.len() {
                // Large payloads in large pieces, or the test takes minutes.
                let step = if position % 7 == 0 { 1_000 } else { cuts.next().unwrap() };
                let next = (position + step).min(stream.len());
                let at_end = boundary.advance(&stream[position..next]);
                position = next;
                prop_assert_eq!(at_end, ends.contains(&position));
            }
        }

        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut boundary = Boundary::default();
            for chunk in junk.chunks(3) { boundary.advance(chunk); }
        }
    }
}
