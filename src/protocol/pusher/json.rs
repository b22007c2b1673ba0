use std::borrow::Cow;

pub(super) use crate::message::json::{quoted, string};

/// The values of these keys in the text of an object. `null` counts as absent.
pub(super) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], serde_json::Error> {
    let found = crate::message::json::members(text, names)?;
    Ok(found.map(|value| value.filter(|text| *text != "null")))
}

/// The text of an object that is there itself or inside a string, as clients write `data` in both forms.
pub(super) fn object(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('{') { Some(Cow::Borrowed(value)) } else { string(value) }
}
