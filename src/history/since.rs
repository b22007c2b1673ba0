use std::fmt;
use std::str::FromStr;

use crate::message::{InvalidPosition, Position};

/// How far a client has read. Its text is that of a [`Position`], or `nSTORE-NUMBER`, such as `n9f3c20-17`, on a channel that has no
/// message yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Up to this message of the channel.
    Position(Position),
    /// Up to this [number](crate::message::Stored::number) of this store.
    Number { store: u64, number: u64 },
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Number { store, number } => write!(f, "n{store:x}-{number}"),
        }
    }
}

/// Accepts only what [`Display`](fmt::Display) writes.
impl FromStr for Since {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(number) = text.strip_prefix('n') else { return text.parse().map(Self::Position) };
        let (store, number) = number.split_once('-').ok_or(InvalidPosition)?;
        let store = u64::from_str_radix(store, 16).map_err(|_| InvalidPosition)?;
        let since = Self::Number { store, number: number.parse().map_err(|_| InvalidPosition)? };
        if since.to_string() == text { Ok(since) } else { Err(InvalidPosition) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_told_from_a_position() {
        assert_eq!("9f3c20-17".parse(), Ok(Since::Position("9f3c20-17".parse().unwrap())));
        assert_eq!("nff-0".parse(), Ok(Since::Number { store: 0xff, number: 0 }));
        for text in ["", "n", "n-", "n1", "n1-", "n-1", "n01-1", "n1-01", "nF-1", "N1-1", "nn1-1", "0-0"] {
            assert_eq!(text.parse::<Since>(), Err(InvalidPosition), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_text_is_read_back(store in any::<u64>(), number in any::<u64>()) {
            let since = Since::Number { store, number };
            prop_assert_eq!(since.to_string().parse(), Ok(since));
        }
    }
}
