use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// Follows the frames of a byte stream, to find the points between two messages: only there may the WebSocket context be
/// dropped, which is what makes an idle connection small. It also counts the frames, including control frames and fragments,
/// because each costs the server some work.
///
/// It validates nothing: for a stream that breaks the protocol its results are arbitrary, and the context rejects it.
#[derive(Debug, Default)]
pub(super) struct MessageBoundary {
    /// The first bytes of a header that has arrived in part.
    header: [u8; MAX_HEADER],
    header_length: u8,
    /// The last data frame was not the final one of its message.
    fragmented: bool,
    /// Remaining bytes of the current frame's payload.
    payload: u64,
}

/// The result of [`MessageBoundary::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advance {
    /// How many of the bytes were taken.
    pub(super) used: usize,
    /// Whether they end between two messages.
    pub(super) between_messages: bool,
}

/// Fragments of at least this many bytes are not counted as messages.
const LARGE_FRAGMENT: u64 = 1024;

/// The longest header of a masked frame (RFC 6455, section 5.2).
const MAX_HEADER: usize = 14;

impl MessageBoundary {
    /// Takes the next bytes of the stream, up to the first frame that exceeds `frames`.
    pub(super) fn advance(&mut self, bytes: &[u8], frames: &mut u32) -> Advance {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(rest.len());
            self.payload -= skipped as u64;
            used += skipped;
            let rest = rest.get(skipped..).unwrap_or_default();
            if rest.is_empty() || *frames == 0 {
                return Advance { used, between_messages: self.is_between_messages() };
            }
            let Some(header) = self.header(rest, frames) else {
                return Advance { used: bytes.len(), between_messages: false };
            };
            used += header;
        }
    }

    /// Remaining bytes of the current frame's payload. 0: the next byte belongs to a header.
    pub(super) fn payload(&self) -> u64 {
        self.payload
    }

    /// Whether the last byte ended a message.
    pub(super) fn is_between_messages(&self) -> bool {
        self.payload == 0 && self.header_length == 0 && !self.fragmented
    }

    /// Reads a header from the kept bytes and these; returns how many of these it used.
    fn header(&mut self, bytes: &[u8], frames: &mut u32) -> Option<usize> {
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
                let is_data = matches!(header.opcode, OpCode::Data(_));
                if is_data {
                    self.fragmented = !header.is_final;
                }
                // Of a message in large fragments only the final one counts: the message's size limit bounds the others.
                if !is_data || header.is_final || length < LARGE_FRAGMENT {
                    *frames = frames.saturating_sub(1);
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
    use tungstenite::protocol::frame::coding::Data;

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
        fn it_finds_each_end_of_a_message_in_any_chunking(
            messages in prop::collection::vec(message(), 1..4),
            cuts in prop::collection::vec(1usize..40, 1..50),
        ) {
            let mut ends = vec![0];
            for message in &messages { ends.push(ends[ends.len() - 1] + message.len()); }
            let stream = messages.concat();
            let mut boundary = MessageBoundary::default();
            let mut position = 0;
            let mut cuts = cuts.into_iter().cycle();
            while position < stream.len() {
                // Large payloads in large pieces, or the test takes minutes.
                let step = if position % 7 == 0 { 1_000 } else { cuts.next().unwrap() };
                let next = (position + step).min(stream.len());
                let mut frames = u32::MAX;
                let advance = boundary.advance(&stream[position..next], &mut frames);
                prop_assert_eq!(advance.used, next - position);
                position = next;
                prop_assert_eq!(advance.between_messages, ends.contains(&position));
            }
        }

        #[test]
        fn invalid_frames_do_not_panic(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut boundary = MessageBoundary::default();
            for chunk in junk.chunks(3) { boundary.advance(chunk, &mut 100); }
        }

        #[test]
        fn it_stops_before_each_frame_over_the_limit(
            frames in prop::collection::vec((any::<bool>(), 0usize..2000), 1..40),
            at_once in 1u32..5,
            cut in 1usize..3000,
        ) {
            let (mut stream, mut ends) = (Vec::new(), vec![]);
            for (is_final, length) in frames {
                stream.extend(frame(OpCode::Data(Data::Continue), vec![0; length], is_final, true));
                if is_final || length < 1024 { ends.push(stream.len()); }
            }
            let mut boundary = MessageBoundary::default();
            let (mut position, mut count) = (0, 0);
            while position < stream.len() {
                let (end, mut left) = ((position + cut).min(stream.len()), at_once);
                let used = boundary.advance(&stream[position..end], &mut left).used;
                position += used;
                count += usize::try_from(at_once - left).unwrap();
                prop_assert!(position == end || left == 0);
                // No byte of a frame is taken that was not counted, but for a header that is not whole.
                let begun = ends.iter().filter(|end| **end <= position).count();
                prop_assert!((begun..=begun + 1).contains(&count), "{} of {}", count, begun);
            }
            prop_assert_eq!(count, ends.len());
        }
    }
}
