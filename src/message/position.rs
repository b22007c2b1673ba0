use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

/// The place of an event in the history of its channel. Its text is `epoch-offset`, such as `9f3c20-17`.
///
/// Positions of the same epoch are contiguous: between 3 and 5 there is exactly one event. Positions of different epochs
/// cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Identifies one life of the store. Random. In hexadecimal on the wire.
    pub epoch: u64,
    /// Counts the events of the channel, from 1.
    pub offset: NonZeroU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a position is `epoch-offset`: a hexadecimal number and a decimal one that is not 0")]
pub struct InvalidPosition;

impl Position {
    /// Whether an event at `self` is included in a history that has been read up to `end`.
    #[must_use]
    pub fn is_covered_by(self, end: Self) -> bool {
        self.epoch == end.epoch && self.offset <= end.offset
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.offset)
    }
}

/// Accepts only what [`Display`](fmt::Display) writes, so that equal positions have equal texts.
impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?;
        let position = Self { epoch, offset: offset.parse().map_err(|_| InvalidPosition)? };
        if position.to_string() == text { Ok(position) } else { Err(InvalidPosition) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_text_is_a_position() {
        assert_eq!("9f3c20-17".parse::<Position>().map(|position| position.epoch), Ok(0x009f_3c20));
        for text in
            ["", "-", "1", "1-", "-1", "1-0", "01-1", "1-01", "+1-1", "1-+1", "F-1", "1-1-1", " 1-1", "g-1"]
        {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
    }

    #[test]
    fn positions_of_another_epoch_are_not_covered() {
        let [early, late, other] = ["a-3", "a-4", "b-4"].map(|text| text.parse::<Position>().unwrap());
        assert!(early.is_covered_by(late) && late.is_covered_by(late));
        assert!(!late.is_covered_by(early));
        assert!(!early.is_covered_by(other));
    }

    proptest! {
        #[test]
        fn the_text_is_read_back(epoch in any::<u64>(), offset in 1..=u64::MAX) {
            let position = Position { epoch, offset: NonZeroU64::new(offset).unwrap() };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in ".{0,40}") {
            let _ = text.parse::<Position>();
        }
    }
}
