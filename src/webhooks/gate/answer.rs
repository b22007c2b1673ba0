use thiserror::Error;

use crate::message::json::{members_not_null, string};

/// What the application answers about a message. Borrows from the answer's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Allow,
    /// With the text for the sender, if there is one.
    Refuse(Option<String>),
    /// With the text of the new `data`, an object.
    Rewrite(&'a str),
}

/// The answer is not JSON, has no decision, or has no object under `data` where one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer has no valid decision")]
pub(super) struct InvalidAnswer;

impl<'a> Answer<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, InvalidAnswer> {
        let text = std::str::from_utf8(body).map_err(|_| InvalidAnswer)?;
        let [decision, message, data] =
            members_not_null(text, ["decision", "message", "data"]).map_err(|_| InvalidAnswer)?;
        match decision.and_then(string).as_deref() {
            Some("allow") => Ok(Self::Allow),
            Some("refuse") => match message.map(string) {
                None => Ok(Self::Refuse(None)),
                Some(Some(message)) => Ok(Self::Refuse(Some(message.into()))),
                Some(None) => Err(InvalidAnswer),
            },
            Some("rewrite") => {
                data.filter(|data| data.starts_with('{')).map(Self::Rewrite).ok_or(InvalidAnswer)
            }
            _ => Err(InvalidAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_read() {
        for (text, answer) in [
            (r#"{"decision":"allow"}"#, Ok(Answer::Allow)),
            (r#" {"decision":"allow","message":7,"data":[],"more":{}} "#, Ok(Answer::Allow)),
            (r#"{"decision":"refuse"}"#, Ok(Answer::Refuse(None))),
            (r#"{"decision":"refuse","message":null}"#, Ok(Answer::Refuse(None))),
            (r#"{"decision":"refuse","message":"n\u006f"}"#, Ok(Answer::Refuse(Some("no".into())))),
            (r#"{"decision":"rewrite","data":{"a": 1.0}}"#, Ok(Answer::Rewrite(r#"{"a": 1.0}"#))),
            ("", Err(InvalidAnswer)),
            ("<html>", Err(InvalidAnswer)),
            ("true", Err(InvalidAnswer)),
            (r#""allow""#, Err(InvalidAnswer)),
            ("{}", Err(InvalidAnswer)),
            (r#"{"decision":true}"#, Err(InvalidAnswer)),
            (r#"{"decision":"Allow"}"#, Err(InvalidAnswer)),
            (r#"{"decision":"allow"} x"#, Err(InvalidAnswer)),
            (r#"{"decision":"refuse","message":7}"#, Err(InvalidAnswer)),
            (r#"{"decision":"rewrite"}"#, Err(InvalidAnswer)),
            (r#"{"decision":"rewrite","data":[]}"#, Err(InvalidAnswer)),
            (r#"{"decision":"rewrite","data":"{}"}"#, Err(InvalidAnswer)),
        ] {
            assert_eq!(Answer::parse(text.as_bytes()), answer, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Answer::parse(&junk).is_err());
        }
    }
}
