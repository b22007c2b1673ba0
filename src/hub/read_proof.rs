//! How far a client has read, proven by its answers to WebSocket pings.
//!
//! A tracked connection is sent a ping at once when it is given a ticket, and after data, at most one a second. Its client answers when
//! it has read everything before it, so that the answer proves that nothing before it is missing.

use crate::message::Frame;

/// The payload of such a ping, and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadProof {
    /// The low 32 bits of the [number](crate::message::Stored::number) up to which everything precedes the ping.
    pub number: u32,
    /// The last ticket of [`track`](super::ConnectionHandle::track) that precedes the ping.
    pub ticket: u32,
    /// Which ping of the connection it is.
    pub ping: u32,
}

impl ReadProof {
    const BYTES: usize = 12;

    /// Reads the payload of a pong. `None`: it answers another ping.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (number, rest) = payload.split_first_chunk()?;
        let (ticket, ping) = rest.split_first_chunk()?;
        Some(Self {
            number: u32::from_be_bytes(*number),
            ticket: u32::from_be_bytes(*ticket),
            ping: u32::from_be_bytes(ping.try_into().ok()?),
        })
    }

    /// The ping that the client answers with this proof.
    #[must_use]
    pub fn ping(self) -> Frame {
        let mut payload = [0; Self::BYTES];
        for (bytes, part) in payload.chunks_exact_mut(4).zip([self.number, self.ticket, self.ping]) {
            bytes.copy_from_slice(&part.to_be_bytes());
        }
        Frame::ping_with(&payload)
    }

    /// The number that was proven, if `last` is the last one of the store. `None`: the store has not come so far.
    #[must_use]
    pub fn number_before(self, last: u64) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "the payload has the low 32 bits")]
        let behind = (last as u32).wrapping_sub(self.number);
        last.checked_sub(behind.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ping_and_its_answer_have_the_same_payload() {
        let proof = ReadProof { number: 0x0102_0304, ticket: 7, ping: 9 };
        assert_eq!(proof.ping().bytes()[..], [0x89, 12, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 0, 9]);
        assert_eq!(ReadProof::parse(&proof.ping().bytes()[2..]), Some(proof));
        assert_eq!([b"".as_slice(), &[0; 8], &[0; 13]].map(ReadProof::parse), [None; 3]);
    }

    #[test]
    fn the_low_bits_identify_the_latest_number_that_has_them() {
        let number = |number, last| ReadProof { number, ticket: 0, ping: 0 }.number_before(last);
        assert_eq!([number(5, 5), number(5, 9), number(0, 9)], [Some(5), Some(5), Some(0)]);
        assert_eq!(number(u32::MAX, 1 << 32), Some((1 << 32) - 1));
        assert_eq!(number(3, (7 << 32) + 2), Some((6 << 32) + 3));
        assert_eq!([number(6, 5), number(u32::MAX, 0)], [None; 2]);
    }
}
