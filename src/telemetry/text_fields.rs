//! Formats the fields of a text line so that untrusted values cannot look like another field or another line.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes numbers as they are and strings quoted and escaped. Values formatted with `%` or `?` are quoted unless they are
/// a single plain word, such as an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'a> {
    writer: Writer<'a>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.result = self.try_put(field.name(), value);
        }
    }

    fn try_put(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let name = name.strip_prefix("r#").unwrap_or(name);
            if self.writer.has_ansi_escapes() {
                write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
            } else {
                write!(self.writer, "{name}=")?;
            }
        }
        self.writer.write_fmt(value)
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put(field, format_args!("{}", Escaped(value)));
        } else {
            // `Debug` escapes quotes, control characters, line separators and bidirectional marks.
            self.put(field, format_args!("{value:?}"));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format_args!("{value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/%+-[]@".contains(c);
        if field.name() == "message" {
            self.put(field, format_args!("{}", Escaped(&text)));
        } else if !text.is_empty() && text.chars().all(is_plain) {
            self.put(field, format_args!("{text}"));
        } else {
            self.put(field, format_args!("{text:?}"));
        }
    }
}

/// Displays text without quotes, with hidden characters escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if is_hidden(c) { f.write_fmt(format_args!("{}", c.escape_default())) } else { f.write_char(c) }
        })
    }
}

/// Whether a character is invisible: a control character, a line separator, a bidirectional mark, or of zero width.
pub(super) fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // `escape_debug` escapes a combining mark only at the start, so it is placed after a letter.
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = c.len_utf8();
    if let Some(place) = buffer.get_mut(1..=length) {
        c.encode_utf8(place);
    }
    let text = buffer.get(..=length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    text.escape_debug().count() > 2
}

/// Escapes hidden characters in a line of JSON. Those outside ASCII only occur in strings.
pub(super) fn escape_json(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 64);
    for c in line.chars() {
        if !c.is_ascii() && is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_hidden() {
        for c in "\0\t\n\r\u{1b}\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200e}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}".chars() {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in "a \"\\=é山あ한\u{301}\u{e31}\u{1f600}".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn escaping_does_not_change_the_json_value() {
        let line =
            serde_json::json!({ "channel": "chat:\u{2028}\u{202e}\u{e0041}山\"\u{301}\n" }).to_string();
        let escaped = escape_json(&line);
        assert!(escaped.contains(r"\u2028\u202e\udb40\udc41山"), "{escaped}");
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&line).unwrap(), serde_json::from_str(&escaped).unwrap());
        assert_eq!(before, after);
    }
}
