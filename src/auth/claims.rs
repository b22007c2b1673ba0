//! What a token says, read strictly.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::{Identity, Refusal};
use crate::message::{ChannelName, InvalidChannelName, UserId};

/// The claims that are looked at. A claim that is there has its type: JSON's `null` counts as a wrong type.
#[derive(Deserialize)]
pub(super) struct Claims<'a> {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    exp: NumericDate,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    #[serde(default, rename = "iat", deserialize_with = "present")]
    _iat: Option<NumericDate>,
    #[serde(default, borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    aud: Option<Audience<'a>>,
}

impl<'a> Claims<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(json).map_err(|_| Refusal::InvalidClaims(fault(json)))
    }

    /// Checks times, issuer and audience. `issuer` and `audience` are not checked where they are empty.
    /// `leeway` is in seconds.
    pub(super) fn accept(
        self,
        now: u64,
        leeway: u64,
        issuer: &str,
        audience: &str,
    ) -> Result<Identity, Refusal> {
        // `exp` is the second in which the token ends.
        let expires_at = self.exp.0.saturating_add(leeway);
        if now >= expires_at {
            return Err(Refusal::Expired { ago: now.saturating_sub(self.exp.0) });
        }
        if let Some(NumericDate(nbf)) = self.nbf
            && now.saturating_add(leeway) < nbf
        {
            return Err(Refusal::NotYetValid { ahead: nbf.saturating_sub(now) });
        }
        if !issuer.is_empty() && self.iss.as_deref() != Some(issuer) {
            return Err(Refusal::WrongIssuer);
        }
        if !audience.is_empty() && !self.aud.is_some_and(|aud| aud.includes(audience)) {
            return Err(Refusal::WrongAudience);
        }
        let channel = ChannelName::new(&self.channel).map_err(|error| {
            Refusal::InvalidClaims(match error {
                InvalidChannelName::Empty => "`channel` must not be empty",
                InvalidChannelName::TooLong => "`channel` has at most 200 bytes",
                InvalidChannelName::ControlCharacter => "`channel` must not contain control characters",
            })
        })?;
        Ok(Identity { id: self.id, name: self.name.into(), channel, expires_at })
    }
}

/// `aud`: one name or several (RFC 7519, section 4.1.3).
enum Audience<'a> {
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl Audience<'_> {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Audience<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Audience<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Audience::One(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Audience::One(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = seq.next_element()? {
                    many.push(one);
                }
                Ok(Audience::Many(many))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NumericDate>, D::Error> {
    NumericDate::deserialize(deserializer).map(Some)
}

/// Seconds since the Unix epoch (RFC 7519, section 2). A fraction, as lcobucci/jwt writes one, is cut off, as it is
/// from the clock that it is compared with; what lies before the epoch counts as the epoch.
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of seconds since 1970")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds))
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(u64::try_from(seconds).unwrap_or(0)))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the conversion keeps to the bounds of the integer, which is what is wanted"
            )]
            fn visit_f64<E>(self, seconds: f64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds as u64))
            }
        }

        deserializer.deserialize_any(Seconds)
    }
}

/// Says which claim is wrong. The parser's own message will not do: it quotes the token.
fn fault(json: &[u8]) -> &'static str {
    let Ok(claims) = serde_json::from_slice::<Value>(json) else { return "they are not JSON" };
    let Value::Object(claims) = claims else { return "they are not a JSON object" };
    let is_id = claims.get("id").is_some_and(|id| UserId::deserialize_bounded(id).is_ok());
    let is_number = |name| claims.get(name).is_some_and(Value::is_number);
    let is_string = |name| claims.get(name).is_some_and(Value::is_string);
    let number_if_present = |name| !claims.contains_key(name) || is_number(name);
    if !is_id {
        "`id` must be an integer or a string of 1 to 64 bytes"
    } else if !is_string("name") {
        "`name` must be a string"
    } else if !is_string("channel") {
        "`channel` must be a string"
    } else if !is_number("exp") {
        "`exp` must be a number, in seconds since 1970"
    } else if !number_if_present("nbf") {
        "`nbf` must be a number, in seconds since 1970"
    } else if !number_if_present("iat") {
        "`iat` must be a number, in seconds since 1970"
    } else {
        "a claim appears twice, or `iss` or `aud` has the wrong type"
    }
}
