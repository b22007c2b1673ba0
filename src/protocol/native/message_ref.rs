use std::sync::Arc;

use thiserror::Error;

use crate::message::json::{quoted, string};
use crate::message::{ChannelName, Sender};

/// A client's name for a message that it sends: a text of 1 to [`MAX_BYTES`](Self::MAX_BYTES) bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRef(Box<str>);

/// `ref` is not a text, or it is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("ref is not a text of 1 to {} bytes", MessageRef::MAX_BYTES)]
pub(super) struct InvalidMessageRef;

impl MessageRef {
    /// The longest one, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// Reads the text of a JSON value. `null` stands for none.
    pub(super) fn from_json(value: &str) -> Result<Option<Self>, InvalidMessageRef> {
        if value == "null" {
            return Ok(None);
        }
        let text = string(value).ok_or(InvalidMessageRef)?;
        let is_valid = (1..=Self::MAX_BYTES).contains(&text.len());
        if is_valid { Ok(Some(Self(text.into()))) } else { Err(InvalidMessageRef) }
    }

    /// The key under which the broker recognises the message when it is sent again: the same for the same user on the same channel
    /// only.
    #[must_use]
    pub fn idempotency_key(&self, channel: &ChannelName, sender: &Sender) -> Arc<str> {
        let (channel, user) = (channel.as_str(), sender.id.to_text());
        // With the lengths, no two of them have the same text.
        format!("ref:{}:{}:{channel}{user}{}", channel.len(), user.len(), self.0).into()
    }

    pub(super) fn to_json(&self) -> String {
        quoted(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Option<String>, InvalidMessageRef> {
        MessageRef::from_json(value).map(|found| found.map(|found| found.0.into()))
    }

    #[test]
    fn a_ref_is_a_text_of_1_to_64_bytes() {
        let longest = "x".repeat(MessageRef::MAX_BYTES);
        assert_eq!(read(&format!("\"{longest}\"")), Ok(Some(longest.clone())));
        assert_eq!(read(r#""a\u5c71\n""#), Ok(Some("a山\n".into())));
        assert_eq!(read("null"), Ok(None));
        for value in [
            &format!("\"{longest}x\""),
            &format!("\"{}\"", "山".repeat(22)),
            r#""""#,
            "7",
            "true",
            "[]",
            "{}",
            r#""\ud800""#,
        ] {
            assert_eq!(read(value), Err(InvalidMessageRef), "{value}");
        }
    }

    #[test]
    fn keys_are_equal_only_for_the_same_user_on_the_same_channel() {
        let key = |channel: &str, id: &str, text: &str| {
            let sender = Sender { name: "Aoi".into(), id: crate::message::UserId::from_json(id).unwrap() };
            MessageRef(text.into()).idempotency_key(&ChannelName::new(channel).unwrap(), &sender)
        };
        assert_eq!(key("chat:", "7", "1"), key("chat:", r#""7""#, "1"));
        let others = [
            key("chat:", "7", "1"),
            key("chat:", "7", "2"),
            key("chat:", "71", "1"),
            key("chat:", r#""71""#, "11"),
            key("chat:7", "7", "1"),
            key("chat:7", "1", "1"),
            key("chat:", r#""x""#, "1"),
            key("chat:x", "1", "1"),
        ];
        for (number, key) in others.iter().enumerate() {
            assert!(!others[number + 1..].contains(key), "{key}");
        }
    }
}
