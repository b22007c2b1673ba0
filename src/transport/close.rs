//! The close codes of WebSocket itself, which are the same for every protocol on top of it.

use tungstenite::error::Error;

use crate::message::{Close, Reconnect};

/// A frame broke RFC 6455.
pub static PROTOCOL_ERROR: Close = close(1002, "protocol error", "protocol_error");
/// A text message was not UTF-8.
pub static INVALID_UTF8: Close = close(1007, "invalid utf-8", "invalid_utf8");
/// A message was over `limits.message_bytes`.
pub static TOO_LARGE: Close = close(1009, "message too large", "message_too_large");

pub static ALL: [&Close; 3] = [&PROTOCOL_ERROR, &INVALID_UTF8, &TOO_LARGE];

const fn close(code: u16, reason: &'static str, label: &'static str) -> Close {
    Close { code, reason, label, reconnect: Reconnect::Never }
}

/// The close for what a client sent.
pub(super) fn close_for(error: &Error) -> &'static Close {
    match error {
        Error::Capacity(_) => &TOO_LARGE,
        Error::Utf8(_) => &INVALID_UTF8,
        _ => &PROTOCOL_ERROR,
    }
}
