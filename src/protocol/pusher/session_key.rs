use std::fmt;

use ring::digest::{Context, SHA256};
use thiserror::Error;

/// Identifies the session of a page across its connections: a hash of the token that the page has chosen, and of the app and the
/// origin to which it is bound. The token itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey([u8; 16]);

/// A text that is no token of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a session token has 16 to 64 letters, digits, '-' and '_'")]
pub struct InvalidToken;

impl SessionKey {
    /// The session that a token names. `origin` is that of the page; empty if the client is no browser.
    pub fn new(app: &str, origin: &[u8], token: &str) -> Result<Self, InvalidToken> {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(16..=64).contains(&token.len()) || !token.bytes().all(is_character) {
            return Err(InvalidToken);
        }
        let mut hash = Context::new(&SHA256);
        for part in [app.as_bytes(), origin, token.as_bytes()] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let first = hash.finish().as_ref().first_chunk().copied();
        Ok(Self(first.unwrap_or_default()))
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 16];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(Self(hash))
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_text(self) -> String {
        hex::encode(self.0)
    }
}

/// Shows nothing: a key identifies a page.
impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "6f1c1f0e-8f5a-4d2e";

    #[test]
    fn a_session_belongs_to_one_app_and_one_origin() {
        let key = |app: &str, origin: &str| SessionKey::new(app, origin.as_bytes(), TOKEN).unwrap();
        assert_eq!(key("1", "https://a"), key("1", "https://a"));
        assert_ne!(key("1", "https://a"), key("2", "https://a"));
        assert_ne!(key("1", "https://a"), key("1", "https://b"));
        // No part can continue another one.
        assert_ne!(key("1", "1"), key("11", ""));
        assert_eq!(key("1", "").to_text().len(), 32);
        assert_eq!(SessionKey::parse(&key("1", "").to_text()), Some(key("1", "")));
        assert_eq!([SessionKey::parse(""), SessionKey::parse(&"x".repeat(32))], [None; 2]);
        assert_eq!(format!("{:?}", key("1", "")), "SessionKey");
    }

    #[test]
    fn a_token_is_bounded() {
        let is_valid = |token: &str| SessionKey::new("1", b"", token).is_ok();
        assert!(is_valid(&"a".repeat(16)) && is_valid(&"Z".repeat(64)) && is_valid("0123456789-_abcdef"));
        assert!(!is_valid("") && !is_valid(&"a".repeat(15)) && !is_valid(&"a".repeat(65)));
        for character in ["~", ".", "/", "%", " ", "é", "\n", "\0", "+", "="] {
            assert!(!is_valid(&format!("{}{character}", "a".repeat(20))), "{character:?}");
        }
    }
}
