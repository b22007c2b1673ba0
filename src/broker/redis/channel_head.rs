use std::num::NonZeroU64;

use crate::broker::Head;
use crate::message::Position;

/// The head of a channel as the script that stores messages writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelHead {
    pub(super) head: Head,
    /// The first offset that the byte limit and the age leave.
    pub(super) floor: u64,
}

impl ChannelHead {
    /// `None` if it is one of another store.
    pub(super) fn parse(bytes: &[u8], store: &str) -> Option<Self> {
        let rest = bytes.strip_prefix(store.as_bytes())?;
        let (epoch, rest) = rest.split_at_checked(15)?;
        let epoch = u64::from_str_radix(std::str::from_utf8(epoch).ok()?, 16).ok()?;
        let offset = NonZeroU64::new(whole_number(rest, 0)?)?;
        let number = whole_number(rest, 1)?;
        let floor = whole_number(rest, 5)?;
        Some(Self { head: Head { position: Position { epoch, offset }, number }, floor })
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
        let read = ChannelHead::parse(&bytes, "000000000000009f").unwrap();
        assert_eq!((read.head.position, read.head.number, read.floor), ("a-3".parse().unwrap(), 12, 2));
        assert!(ChannelHead::parse(&bytes, "000000000000009e").is_none());
        for broken in
            [&bytes[..78], b"nonsense", b"", &head(&[0.0; 7]), &head(&[-1.0; 7]), &head(&[f64::NAN; 7])]
        {
            assert!(ChannelHead::parse(broken, "000000000000009f").is_none(), "{broken:?}");
        }
    }
}
