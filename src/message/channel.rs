use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The name of a channel: 1 to 200 bytes without control characters.
///
/// Names are never trimmed, folded or normalised: `chat` and `chat:` are two channels. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidChannelName {
    #[error("a channel name must not be empty")]
    Empty,
    #[error("a channel name has at most {} bytes", ChannelName::MAX_BYTES)]
    TooLong,
    #[error("a channel name must not contain control characters")]
    ControlCharacter,
}

impl ChannelName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 200;

    pub fn new(name: &str) -> Result<Self, InvalidChannelName> {
        if name.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(InvalidChannelName::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidChannelName::ControlCharacter);
        }
        Ok(Self(name.into()))
    }

    /// A name in another namespace, such as that of an app, which no result of [`new`](Self::new) equals.
    ///
    /// The scope must not contain [`SCOPE_END`](Self::SCOPE_END). The name is not checked.
    #[must_use]
    pub fn scoped(scope: &str, name: &str) -> Self {
        Self(format!("{scope}{}{name}", Self::SCOPE_END).into())
    }

    /// Ends a scope. A control character, which names do not contain.
    pub const SCOPE_END: char = '\u{1f}';

    #[must_use]
    pub fn is_scoped(&self) -> bool {
        self.0.contains(Self::SCOPE_END)
    }

    /// The name without its scope.
    #[must_use]
    pub fn unscoped(&self) -> &str {
        self.0.split_once(Self::SCOPE_END).map_or(&*self.0, |(_, name)| name)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text before the first `:`, or all of it if there is none. It selects the rules of the channel.
    #[must_use]
    pub fn kind(&self) -> &str {
        // Kinds are so short that a plain loop is faster than a search.
        let end = self.0.bytes().position(|byte| byte == b':');
        end.and_then(|end| self.0.get(..end)).unwrap_or(&self.0)
    }

    /// The parameters after the first `:`, separated by commas. Routing ignores them.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let text = self.0.split_once(':').map_or("", |(_, parameters)| parameters);
        text.split(',').filter(|parameter| !parameter.is_empty())
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_normalised() {
        for name in ["chat", "chat:", "chat:default", " chat:room1 ", "Chat:ルーム", "progress:42,a", ":"]
        {
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
        }
        assert_ne!(ChannelName::new("chat"), ChannelName::new("chat:"));
    }

    #[test]
    fn a_name_has_1_to_200_bytes() {
        assert_eq!(ChannelName::new(""), Err(InvalidChannelName::Empty));
        assert!(ChannelName::new(&"a".repeat(200)).is_ok());
        assert_eq!(ChannelName::new(&"a".repeat(201)), Err(InvalidChannelName::TooLong));
        assert_eq!(ChannelName::new(&"山".repeat(67)), Err(InvalidChannelName::TooLong));
    }

    #[test]
    fn control_characters_are_rejected() {
        for name in ["a\n", "\0", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(ChannelName::new(name), Err(InvalidChannelName::ControlCharacter));
        }
    }

    #[test]
    fn the_kind_is_the_text_before_the_first_colon() {
        let kind = |name: &str| ChannelName::new(name).unwrap().kind().to_owned();
        assert_eq!([kind("chat"), kind("chat:"), kind("chat:a:b"), kind(":x")], ["chat", "chat", "chat", ""]);
    }

    #[test]
    fn a_scoped_name_equals_no_other_name() {
        let scoped = ChannelName::scoped("app", "chat");
        assert_eq!(scoped.unscoped(), "chat");
        assert_ne!(scoped, ChannelName::scoped("app2", "chat"));
        assert_eq!(ChannelName::new(scoped.as_str()), Err(InvalidChannelName::ControlCharacter));
        assert_eq!(ChannelName::new("chat").unwrap().unscoped(), "chat");
    }

    #[test]
    fn parameters_are_separated_by_commas() {
        let name = ChannelName::new("progress:42,a:b").unwrap();
        assert_eq!(name.parameters().collect::<Vec<_>>(), ["42", "a:b"]);
        assert_eq!(ChannelName::new("chat:").unwrap().parameters().count(), 0);
    }
}
