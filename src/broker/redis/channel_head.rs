use std::num::NonZeroU64;

use crate::broker::Head;
use crate::message::Position;

/// The head of a channel as the script that stores messages writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelHead {
    Stored {
        head: Head,
        /// The first offset that the byte limit and the age leave.
        floor: u64,
    },
    /// The messages were removed after a failure. The last number that one of them can have had.
    Reset(u64),
    OfAnotherStore,
}

impl ChannelHead {
    pub(super) fn parse(bytes: &[u8], store: &str) -> Self {
        match bytes.strip_prefix(store.as_bytes()) {
            Some(rest) => Self::parse_numbers(rest).unwrap_or(Self::Reset(u64::MAX)),
            None => Self::OfAnotherStore,
        }
    }

    fn parse_numbers(bytes: &[u8]) -> Option<Self> {
        let (epoch, numbers) = bytes.split_at_checked(15)?;
        let epoch = u64::from_str_radix(std::str::from_utf8(epoch).ok()?, 16).ok()?;
        let (offset, number) = (whole_number(numbers, 0)?, whole_number(numbers, 1)?);
        let Some(offset) = NonZeroU64::new(offset) else { return Some(Self::Reset(number)) };
        let floor = whole_number(numbers, 5)?;
        Some(Self::Stored { head: Head { position: Position { epoch, offset }, number }, floor })
    }
}

/// Scripts have no integers: a whole number is a double, and exact up to this one.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn whole_number(bytes: &[u8], place: usize) -> Option<u64> {
    let bytes: [u8; 8] = bytes.chunks_exact(8).nth(place)?.try_into().ok()?;
    let number = f64::from_be_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range has been checked")]
    (0.0..=MAX_EXACT).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(numbers: &[f64]) -> Vec<u8> {
        let mut bytes = b"000000000000009f00000000000000a".to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    #[test]
    fn a_head_is_read_only_from_its_store() {
        let bytes = head(&[3.0, 12.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        let parse = |bytes: &[u8]| ChannelHead::parse(bytes, "000000000000009f");
        let last = Head { position: "a-3".parse().unwrap(), number: 12 };
        assert_eq!(parse(&bytes), ChannelHead::Stored { head: last, floor: 2 });
        assert_eq!(ChannelHead::parse(&bytes, "000000000000009e"), ChannelHead::OfAnotherStore);
        for other in [&b"nonsense"[..], b""] {
            assert_eq!(parse(other), ChannelHead::OfAnotherStore);
        }
    }

    #[test]
    fn a_head_without_messages_says_which_were_removed() {
        let parse = |bytes: &[u8]| ChannelHead::parse(bytes, "000000000000009f");
        assert_eq!(parse(&head(&[0.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0])), ChannelHead::Reset(12));
        // Any of them.
        let bytes = head(&[3.0, 12.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        for broken in [&bytes[..78], &bytes[..16], &head(&[-1.0; 7]), &head(&[f64::NAN; 7])] {
            assert_eq!(parse(broken), ChannelHead::Reset(u64::MAX), "{broken:?}");
        }
    }
}
