//! Makes JSON that JavaScript accepts readable to other parsers.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;

/// `\ufffd` has the length of what it replaces.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The same JSON for the application. PHP refuses a whole text for one half of a surrogate pair in it (`\ud800`), which JavaScript writes when it
/// cuts a string, and for a key that begins with `\u0000`. Both become `\ufffd`, as [RFC 7493](https://www.rfc-editor.org/rfc/rfc7493#section-2.1)
/// has it. `json` must be valid.
#[must_use]
pub fn portable_json(json: &[u8]) -> Cow<'_, [u8]> {
    static ESCAPE: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new("\\u"));
    if ESCAPE.find(json).is_none() {
        return Cow::Borrowed(json);
    }
    let mut portable = Cow::Borrowed(json);
    let mut position = 0;
    while let Some(start) = json.iter().skip(position).position(|byte| *byte == b'"') {
        position = replace_in_string(json, position + start + 1, &mut portable);
    }
    portable
}

/// Replaces in the string that begins here, after its quote. Returns where it has ended.
fn replace_in_string<'a>(json: &'a [u8], start: usize, portable: &mut Cow<'a, [u8]>) -> usize {
    let mut position = start;
    loop {
        let rest = json.get(position..).unwrap_or_default();
        let length = match (rest, code_unit(rest)) {
            ([], _) => return position,
            ([b'"', rest @ ..], _) => {
                let is_key = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_key && json.get(start..).and_then(code_unit) == Some(0) {
                    replace(portable, start);
                }
                return position + 1;
            }
            (_, Some(0xD800..=0xDBFF))
                if matches!(rest.get(6..).and_then(code_unit), Some(0xDC00..=0xDFFF)) =>
            {
                12
            }
            (_, Some(0xD800..=0xDFFF)) => {
                replace(portable, position);
                6
            }
            ([b'\\', ..], _) => 2,
            _ => 1,
        };
        position += length;
    }
}

/// The UTF-16 code unit of an escape that is at the beginning of a text: `\u5c71`.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn replace(portable: &mut Cow<'_, [u8]>, position: usize) {
    if let Some(escape) = portable.to_mut().get_mut(position..position + REPLACEMENT.len()) {
        escape.copy_from_slice(REPLACEMENT);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn made_portable(json: &str) -> String {
        String::from_utf8(portable_json(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn what_php_refuses_is_replaced() {
        for (json, expected) in [
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a":"\uDFFF\ud83d\uddfb\ud83dx\ud83d"}"#, r#"{"a":"\ufffd\ud83d\uddfb\ufffdx\ufffd"}"#),
            (r#"{"a":"\ud83d\ud83d\uddfb\u005cudc00"}"#, r#"{"a":"\ufffd\ud83d\uddfb\u005cudc00"}"#),
            (r#"{"\udc00":["\ud800"]}"#, r#"{"\ufffd":["\ufffd"]}"#),
            (r#"{"\u0000a" : 1,"b\u0000":"\u0000"}"#, r#"{"\ufffda" : 1,"b\u0000":"\u0000"}"#),
            (r#"{"a":{"\u0000":{}}}"#, r#"{"a":{"\ufffd":{}}}"#),
        ] {
            assert_eq!(made_portable(json), expected);
        }
        for same in [
            "{}",
            r#"{"a":"\\ud800 \"\\u0000\" \u5c71","b":["\u0000:"]}"#,
            r#"["\u0000",":"]"#,
            r#""\ud83d\uddfb""#,
            "\"\\",
            "\"\\u",
            "\"\\ud8",
        ] {
            assert_eq!(made_portable(same), same);
        }
    }

    proptest! {
        #[test]
        fn what_rust_reads_stays_as_it_is(text in any::<String>(), key in any::<String>()) {
            let json = serde_json::json!({ "a": [text], format!("k{key}"): null }).to_string();
            prop_assert_eq!(made_portable(&json), json);
        }

        #[test]
        fn any_string_can_be_read_afterwards(units in prop::collection::vec(any::<u16>(), 0..20)) {
            let escapes: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let value: Value = serde_json::from_str(&made_portable(&format!("\"{}\"", escapes.concat()))).unwrap();
            prop_assert_eq!(value, String::from_utf16_lossy(&units));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(junk in "[\\\\u\"d80:{}\\[\\] ]{0,60}") {
            prop_assert_eq!(portable_json(junk.as_bytes()).len(), junk.len());
        }
    }
}
