//! A token's claims, parsed strictly.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Identity, TokenRejectReason};
use crate::message::json::string;
use crate::message::{ChannelName, InvalidChannelName, UserId};

/// The claims that are checked. A claim that is present must have its type; `null` does not.
#[derive(Deserialize)]
pub(super) struct TokenClaims<'a> {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    exp: NumericDate,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<NumericDate>,
    /// Whatever it is: it is only compared.
    #[serde(default, borrow)]
    jti: Option<&'a RawValue>,
    #[serde(default, borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    aud: Option<AudienceClaim<'a>>,
}

impl<'a> TokenClaims<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, TokenRejectReason> {
        serde_json::from_slice(json).map_err(|_| TokenRejectReason::InvalidClaims(invalid_claim(json)))
    }

    /// Checks times, issuer and audience. An empty `issuer` or `audience` is not checked. `leeway` is in seconds.
    pub(super) fn verify(
        self,
        now: u64,
        leeway: u64,
        issuer: &str,
        audience: &str,
    ) -> Result<Identity, TokenRejectReason> {
        // The token is no longer valid in the second of `exp`.
        let expires_at = self.exp.0.saturating_add(leeway);
        if now >= expires_at {
            return Err(TokenRejectReason::Expired { ago: now.saturating_sub(self.exp.0) });
        }
        if let Some(NumericDate(nbf)) = self.nbf
            && now.saturating_add(leeway) < nbf
        {
            return Err(TokenRejectReason::NotYetValid { ahead: nbf.saturating_sub(now) });
        }
        if !issuer.is_empty() && self.iss.as_deref() != Some(issuer) {
            return Err(TokenRejectReason::WrongIssuer);
        }
        if !audience.is_empty() && !self.aud.is_some_and(|aud| aud.includes(audience)) {
            return Err(TokenRejectReason::WrongAudience);
        }
        let channel = ChannelName::new(&self.channel).map_err(|error| {
            TokenRejectReason::InvalidClaims(match error {
                InvalidChannelName::Empty => "`channel` must not be empty",
                InvalidChannelName::TooLong => "`channel` must have at most 200 bytes",
                InvalidChannelName::ControlCharacter => "`channel` must not contain control characters",
            })
        })?;
        Ok(Identity {
            id: self.id,
            name: self.name.into(),
            channel,
            expires_at,
            issued_at: self.iat.map(|NumericDate(seconds)| seconds),
            jti: self.jti.map(|jti| string(jti.get()).unwrap_or(Cow::Borrowed(jti.get())).into()),
        })
    }
}

/// `aud`: one name or several (RFC 7519, section 4.1.3).
enum AudienceClaim<'a> {
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl AudienceClaim<'_> {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AudienceClaim<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = AudienceClaim<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(AudienceClaim::One(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(AudienceClaim::One(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = seq.next_element()? {
                    many.push(one);
                }
                Ok(AudienceClaim::Many(many))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NumericDate>, D::Error> {
    NumericDate::deserialize(deserializer).map(Some)
}

/// Unix time in seconds (RFC 7519, section 2). Fractions, which lcobucci/jwt writes, are truncated like the clock that they
/// are compared with. Times before the epoch count as the epoch.
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Unix time in seconds")
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
                reason = "the conversion saturates, as intended"
            )]
            fn visit_f64<E>(self, seconds: f64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds as u64))
            }
        }

        deserializer.deserialize_any(Seconds)
    }
}

/// Which claim is invalid. The parser's own message quotes the token.
fn invalid_claim(json: &[u8]) -> &'static str {
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
        "`exp` must be a number, Unix time in seconds"
    } else if !number_if_present("nbf") {
        "`nbf` must be a number, Unix time in seconds"
    } else if !number_if_present("iat") {
        "`iat` must be a number, Unix time in seconds"
    } else {
        "a claim appears twice, or `iss` or `aud` has the wrong type"
    }
}
