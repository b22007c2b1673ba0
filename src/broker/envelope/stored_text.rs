//! Where a message is stored, as the script writes it: `"STORE NUMBER AT INDEX:EPOCH-OFFSET:PREVIOUS …"`. `PREVIOUS` is the number of
//! the channel's previous message, so that a reader knows whether some before it are missing.

use crate::message::{Position, Stored};

/// Parses the text of the JSON string. `None`: it was not written by the script.
pub(super) fn parse_stored(json: &str) -> Option<Box<Stored>> {
    let mut parts = parts(json)?;
    let store = u64::from_str_radix(parts.next()?, 16).ok()?;
    let (number, at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let positions = parts.map(|text| parse_place(text).map(|(index, position, _)| (index, position)));
    let positions = positions.collect::<Option<Vec<_>>>()?;
    (!positions.is_empty()).then(|| Box::new(Stored { store, number, at, positions, is_plain_copy: false }))
}

/// The number of the message before this position. 0: there is none.
pub(super) fn previous_number(json: &str, position: Position) -> Option<u64> {
    let mut places = parts(json)?.skip(3).filter_map(parse_place);
    places.find(|(_, of, _)| *of == position).map(|(_, _, previous)| previous)
}

fn parts(json: &str) -> Option<std::str::Split<'_, char>> {
    Some(json.strip_prefix('"')?.strip_suffix('"')?.split(' '))
}

fn parse_place(text: &str) -> Option<(u16, Position, u64)> {
    let mut fields = text.split(':');
    let place = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_script_writes_is_parsed() {
        let position = |text: &str| text.parse::<Position>().unwrap();
        let text = "\"9f 12 1764126400000 0:a-3:7 2:b-1:0\"";
        let stored = parse_stored(text).unwrap();
        assert_eq!((stored.store, stored.number, stored.at), (0x9f, 12, 1_764_126_400_000));
        assert_eq!(stored.positions, [(0, position("a-3")), (2, position("b-1"))]);
        assert_eq!(previous_number(text, position("a-3")), Some(7));
        assert_eq!(previous_number(text, position("b-1")), Some(0));
        assert_eq!(previous_number(text, position("a-4")), None);
        for text in [
            "",
            "\"",
            "\"\"",
            "7",
            "null",
            "\"9f 12 1\"",
            "\"9f 12 1 \"",
            "\"9f 12 1 0:a-0:1\"",
            "\"9f 12 1 0:a-1\"",
            "\"9f 12 1 0:a-1:1:1\"",
            "\"g 12 1 0:a-1:1\"",
            "\"9f -1 1 0:a-1:1\"",
            "\"9f 1 1 65536:a-1:1\"",
        ] {
            assert_eq!(parse_stored(text), None, "{text}");
        }
    }
}
