//! How far a client has read, as a text.

use std::fmt;
use std::str::FromStr;

use super::Since;
use crate::message::InvalidPosition;

/// Precedes the store and the number, which have the form of a position otherwise.
const NUMBER: char = 's';

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Number { store, number } => write!(f, "{NUMBER}{store:x}-{number}"),
        }
    }
}

/// Accepts only what [`Display`](fmt::Display) writes.
impl FromStr for Since {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix(NUMBER) else { return text.parse().map(Self::Position) };
        let (store, number) = rest.split_once('-').ok_or(InvalidPosition)?;
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
    fn a_position_and_a_number_have_different_texts() {
        let position = Since::Position("9f3c20-17".parse().unwrap());
        assert_eq!("9f3c20-17".parse(), Ok(position));
        assert_eq!("s9f3c20-0".parse(), Ok(Since::Number { store: 0x009f_3c20, number: 0 }));
        for text in ["", "s", "s-", "s1-", "s-1", "ss1-1", "s01-1", "s1-01", "s1-+1", "S1-1", "s1-1 ", "1-0"]
        {
            assert_eq!(text.parse::<Since>(), Err(InvalidPosition), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_text_is_read_back(store in any::<u64>(), number in any::<u64>()) {
            let since = Since::Number { store, number };
            prop_assert_eq!(since.to_string().parse(), Ok(since));
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "s?.{0,40}") {
            let _ = text.parse::<Since>();
        }
    }
}
