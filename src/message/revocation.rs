use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::{TokenFingerprint, UserId};

/// Tokens of the native protocol that are taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub tokens: RevokedTokens,
    /// When the revocation ends, in Unix seconds, at most [`MAX_TIME`](Self::MAX_TIME); it has ended from this second on. A time that
    /// has passed takes the revocation back. `None`: when the last token that it concerns has expired.
    pub until: Option<u64>,
}

/// Which tokens a [`Revocation`] concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevokedTokens {
    /// All tokens of a user, also those that are issued later.
    User(UserId),
    /// The token with this `jti`.
    Jti(Box<str>),
    /// The tokens whose `iat` is before this Unix second, and those without an `iat`.
    IssuedBefore {
        before: u64,
        /// Only those of this user. `None`: those of all users.
        user: Option<UserId>,
    },
}

/// Not `{user}`, `{user, before}`, `{before}` or `{jti}`, with or without `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a revocation is {{user}}, {{user, before}}, {{before}} or {{jti}}, and may have `until`; times are Unix seconds"
)]
pub struct InvalidRevocation;

/// `before` is after [`Revocation::MAX_TIME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("`before` is after the year 9999: it is in Unix seconds, not in milliseconds")]
pub struct BeforeOutOfRange;

impl Revocation {
    /// The most that are in force at the same time.
    pub const MAX: usize = 10_000;

    /// The last second of the year 9999: the latest end, and the latest `before`. Redis can expire a key then, and a Lua script can
    /// calculate with it exactly.
    pub const MAX_TIME: u64 = 253_402_300_799;

    /// A later end than [`MAX_TIME`](Self::MAX_TIME) is that time: whoever writes `PHP_INT_MAX` means for ever.
    #[must_use]
    pub fn new(tokens: RevokedTokens, until: Option<u64>) -> Self {
        Self { tokens, until: until.map(|until| until.min(Self::MAX_TIME)) }
    }

    /// Checks what an application asks for. A `before` in milliseconds would revoke all tokens for ever, also those that are issued
    /// later. One with `until` 0 is accepted, because an older version may have stored such a revocation.
    pub fn check(&self) -> Result<(), BeforeOutOfRange> {
        match self.tokens {
            RevokedTokens::IssuedBefore { before, .. }
                if before > Self::MAX_TIME && self.until != Some(0) =>
            {
                Err(BeforeOutOfRange)
            }
            _ => Ok(()),
        }
    }

    /// Decodes a JSON object. An unknown key and `null` are errors: without the key that was meant, a revocation would concern more
    /// tokens.
    pub fn from_json(text: &str) -> Result<Self, InvalidRevocation> {
        // serde would also accept an array for a struct.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(InvalidRevocation);
        }
        let Body { user, jti, before, until } = serde_json::from_str(text).map_err(|_| InvalidRevocation)?;
        Ok(Self::new(RevokedTokens::new(user, jti.map(Into::into), before)?, until))
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        self.tokens.write(self.until)
    }
}

impl RevokedTokens {
    /// Checks which of them are given.
    pub fn new(
        user: Option<UserId>,
        jti: Option<Box<str>>,
        before: Option<u64>,
    ) -> Result<Self, InvalidRevocation> {
        match (user, jti, before) {
            (Some(user), None, None) => Ok(Self::User(user)),
            (None, Some(jti), None) if (1..=Self::MAX_JTI_BYTES).contains(&jti.len()) => Ok(Self::Jti(jti)),
            (user, None, Some(before)) => Ok(Self::IssuedBefore { before, user }),
            _ => Err(InvalidRevocation),
        }
    }

    /// The longest `jti` that can be revoked, in bytes of UTF-8.
    pub const MAX_JTI_BYTES: usize = 256;

    /// The text of a JSON object, the same for equal values.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.write(None)
    }

    /// The user whose tokens are concerned. `None`: the tokens of any user can be.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::IssuedBefore { user, .. } => user.as_ref(),
            Self::Jti(_) => None,
        }
    }

    /// Tells for tokens of the [user](Self::user) whether they are concerned.
    pub fn matcher(&self) -> impl Fn(TokenFingerprint) -> bool + use<> {
        let (jti, before) = match self {
            Self::User(_) => (None, u64::MAX),
            Self::Jti(jti) => (Some(TokenFingerprint::new(None, Some(jti))), 0),
            Self::IssuedBefore { before, .. } => (None, *before),
        };
        move |token| match jti {
            Some(jti) => token.has_same_jti(jti),
            None => token.is_issued_before(before),
        }
    }

    fn write(&self, until: Option<u64>) -> String {
        let (user, jti, before) = match self {
            Self::User(user) => (Some(user), None, None),
            Self::Jti(jti) => (None, Some(Cow::Borrowed(&**jti)), None),
            Self::IssuedBefore { before, user } => (user.as_ref(), None, Some(*before)),
        };
        // The number 7 and the text "7" are the same user.
        let user = user.map(|user| user.number().map_or_else(|| user.clone(), UserId::from));
        // Strings and numbers can always be written as JSON.
        serde_json::to_string(&Body { user, jti, before, until }).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "user")]
    user: Option<UserId>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    jti: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    until: Option<u64>,
}

fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UserId>, D::Error> {
    UserId::deserialize_bounded(deserializer).map(Some)
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_texts() {
        for text in [
            r#"{"user":7}"#,
            r#"{"user":"a\"b","until":1}"#,
            r#"{"jti":"山"}"#,
            r#"{"before":1700000000}"#,
            r#"{"user":-7,"before":1700000000,"until":1800000000}"#,
        ] {
            assert_eq!(Revocation::from_json(text).unwrap().to_json(), text);
        }
        let same = [r#"{"user":"7","before":1}"#, r#" {"before":1,"user":7}"#];
        let [one, other] = same.map(|text| Revocation::from_json(text).unwrap().tokens);
        assert_eq!((&one, one.to_json()), (&other, other.to_json()));
    }

    #[test]
    fn an_invalid_revocation_is_rejected() {
        let long = format!(r#"{{"jti":"{}"}}"#, "x".repeat(RevokedTokens::MAX_JTI_BYTES + 1));
        for text in [
            "",
            "null",
            "7",
            "[7]",
            "{}",
            r#"{"until":1}"#,
            r#"{"user":null}"#,
            // Nobody may mean everybody.
            r#"{"user":null,"before":1}"#,
            r#"{"usr":7,"before":1}"#,
            r#"{"user":"","before":1}"#,
            r#"{"user":7.0}"#,
            r#"{"user":7,"before":null}"#,
            r#"{"user":7,"before":-1}"#,
            r#"{"user":7,"before":"1"}"#,
            r#"{"user":7,"until":null}"#,
            r#"{"user":7,"user":8}"#,
            r#"{"user":7,"jti":"a"}"#,
            r#"{"jti":"a","before":1}"#,
            r#"{"jti":""}"#,
            r#"{"jti":7}"#,
            &long,
        ] {
            assert_eq!(Revocation::from_json(text), Err(InvalidRevocation), "{text}");
        }
    }

    #[test]
    fn a_later_end_is_the_latest_one() {
        for (until, expected) in [
            (0, 0),
            (Revocation::MAX_TIME, Revocation::MAX_TIME),
            (Revocation::MAX_TIME + 1, Revocation::MAX_TIME),
            (i64::MAX.unsigned_abs(), Revocation::MAX_TIME),
            (u64::MAX, Revocation::MAX_TIME),
        ] {
            let text = format!(r#"{{"user":7,"until":{until}}}"#);
            assert_eq!(Revocation::from_json(&text).unwrap().until, Some(expected), "{text}");
        }
    }

    #[test]
    fn a_before_that_is_not_in_seconds_is_only_taken_back() {
        for (text, is_accepted) in [
            (r#"{"user":7}"#, true),
            (r#"{"before":253402300799}"#, true),
            (r#"{"before":253402300800}"#, false),
            (r#"{"user":7,"before":1700000000000,"until":1700000000}"#, false),
            (r#"{"user":7,"before":1700000000000,"until":0}"#, true),
        ] {
            assert_eq!(Revocation::from_json(text).unwrap().check().is_ok(), is_accepted, "{text}");
        }
    }

    #[test]
    fn tokens_are_recognised_by_their_fingerprints() {
        let matches = |text: &str, token: TokenFingerprint| {
            Revocation::from_json(text).unwrap().tokens.matcher()(token)
        };
        let plain = TokenFingerprint::new(None, None);
        let full = TokenFingerprint::new(Some(100), Some("a"));
        for (text, expected) in [
            (r#"{"user":7}"#, [false, true, true]),
            (r#"{"before":100}"#, [false, true, false]),
            (r#"{"before":101}"#, [false, true, true]),
            (r#"{"jti":"a"}"#, [false, false, true]),
            (r#"{"jti":"b"}"#, [false, false, false]),
        ] {
            let tokens = [TokenFingerprint::default(), plain, full];
            assert_eq!(tokens.map(|token| matches(text, token)), expected, "{text}");
        }
        assert!(matches(r#"{"before":18446744073709551615}"#, TokenFingerprint::new(Some(u64::MAX), None)));
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,60}") {
            let _ = Revocation::from_json(&text);
        }
    }
}
