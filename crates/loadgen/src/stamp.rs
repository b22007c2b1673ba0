/// The header of a benchmark message: it tells the receiver which message it is and when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The run's id: messages of others on the same channel are not counted.
    pub(super) run: u32,
    pub(super) channel: u32,
    /// The publisher's number on the channel.
    pub(super) publisher: u16,
    /// Counts the publisher's messages, from 0.
    pub(super) sequence: u32,
    /// When the message was due, in nanoseconds of the run's clock. Latency counts from here, so that a delayed sender
    /// does not hide its delay (coordinated omission).
    pub(super) due: u64,
}

const MARK: &[u8] = b"yb";

impl Stamp {
    pub(super) const LENGTH: usize = MARK.len() + 8 + 8 + 4 + 8 + 16;

    /// Appends the stamp as letters and digits, which no protocol escapes.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        use std::io::Write;
        let Self { run, channel, publisher, sequence, due } = self;
        to.extend_from_slice(MARK);
        // Writing to memory does not fail.
        let _ = write!(to, "{run:08x}{channel:08x}{publisher:04x}{sequence:08x}{due:016x}");
    }

    /// Finds the stamp in a message. `at` caches its offset, which rarely differs between messages.
    pub(super) fn find(message: &[u8], at: &mut usize) -> Option<Self> {
        if let Some(stamp) = message.get(*at..).and_then(Self::read) {
            return Some(stamp);
        }
        let places = message.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        for (place, _) in places {
            if let Some(stamp) = message.get(place..).and_then(Self::read) {
                *at = place;
                return Some(stamp);
            }
        }
        None
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MARK)?;
        Some(Self {
            run: number(&mut rest, 8)?,
            channel: number(&mut rest, 8)?,
            publisher: number(&mut rest, 4)?,
            sequence: number(&mut rest, 8)?,
            due: number(&mut rest, 16)?,
        })
    }
}

/// Takes a number of `digits` hexadecimal digits.
fn number<T: TryFrom<u64>>(bytes: &mut &[u8], digits: usize) -> Option<T> {
    let (number, rest) = bytes.split_at_checked(digits)?;
    *bytes = rest;
    let mut value = 0u64;
    for byte in number {
        value = value << 4 | u64::from(char::from(*byte).to_digit(16)?);
    }
    T::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { run: 0xdead_beef, channel: 7, publisher: 65_535, sequence: 12, due: u64::MAX };

    #[test]
    fn a_stamp_is_found_at_any_offset() {
        let mut message = br#"{"sender":"yb, yb12","message":""#.to_vec();
        let place = message.len();
        STAMP.write(&mut message);
        assert_eq!(message.len(), place + Stamp::LENGTH);
        message.extend_from_slice(b"xxxx\"}");
        for start in [0, place, 1_000] {
            let mut at = start;
            assert_eq!(Stamp::find(&message, &mut at), Some(STAMP));
            assert_eq!(at, place);
        }
    }

    #[test]
    fn junk_has_no_stamp() {
        for junk in [&b""[..], b"yb", b"yb0123", b"ybzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(Stamp::find(junk, &mut 0), None);
        }
    }
}
