//! Text of the document as HTML.

use serde_json::Value;

/// The value at a JSON pointer, or null.
pub(super) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    static NULL: Value = Value::Null;
    value.pointer(pointer).unwrap_or(&NULL)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text with `code` in it.
pub(super) fn prose(text: &str) -> String {
    let part = |(index, part): (usize, &str)| {
        let part = escaped(part);
        if index % 2 == 0 { part } else { format!("<code>{part}</code>") }
    };
    text.split('`').enumerate().map(part).collect()
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
