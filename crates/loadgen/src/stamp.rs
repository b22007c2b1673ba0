//! What a message of the benchmark carries, so that its receiver can tell where it belongs and how old it is.

/// The mark of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The run: messages of others on the same channel are not counted.
    pub(super) run: u32,
    /// The channel by its number.
    pub(super) channel: u32,
    /// The publisher by its number on the channel.
    pub(super) publisher: u16,
    /// Counts the publisher's messages from 0 on.
    pub(super) sequence: u32,
    /// When it was to be sent, in nanoseconds of the run's clock: latency counts from here, so that a sender that is
    /// held up does not hide what it waited.
    pub(super) due: u64,
}

const MARK: &[u8] = b"yb";

impl Stamp {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = MARK.len() + 8 + 8 + 4 + 8 + 16;

    /// Appends it as letters and digits, which every protocol lets through.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        use std::io::Write;
        let Self { run, channel, publisher, sequence, due } = self;
        to.extend_from_slice(MARK);
        // Writing to memory does not fail.
        let _ = write!(to, "{run:08x}{channel:08x}{publisher:04x}{sequence:08x}{due:016x}");
    }

    /// Finds one in a message. `at` is where the last one stood, which is where the next one stands as a rule.
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

/// The next number of so many hexadecimal digits.
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
    fn it_is_found_wherever_it_stands() {
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
    fn junk_has_none() {
        for junk in [&b""[..], b"yb", b"yb0123", b"ybzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(Stamp::find(junk, &mut 0), None);
        }
    }
}
