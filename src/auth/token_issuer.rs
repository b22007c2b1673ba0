use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde::Serialize;
use thiserror::Error;

use super::Settings;
use super::crypto_provider::install_crypto_provider;
use crate::message::{ChannelName, UserId};
use crate::unix_time::unix_time;

/// Signs tokens with the server's own secret, for the command line and the console.
pub struct TokenIssuer {
    header: Header,
    key: EncodingKey,
    issuer: Option<String>,
    audience: Option<String>,
}

/// There is no shared secret. The server may have public keys, but those only verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no shared secret to sign a token with; set YAMABIKO__AUTH__SECRET or APP_WS_JWT_SECRET")]
pub struct NoSigningKeyError;

impl TokenIssuer {
    /// Uses `auth.secret`, or else the first shared secret in `auth.keys`.
    pub fn new(settings: &Settings) -> Result<Self, NoSigningKeyError> {
        install_crypto_provider();
        let (algorithm, secret, kid) = signing_key(settings).ok_or(NoSigningKeyError)?;
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        Ok(Self {
            header,
            key: EncodingKey::from_secret(secret.as_bytes()),
            issuer: Some(settings.issuer.clone()).filter(|issuer| !issuer.is_empty()),
            audience: Some(settings.audience.clone()).filter(|audience| !audience.is_empty()),
        })
    }

    /// A token that is valid for `ttl` from now, in whole seconds.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot, see below")]
    pub fn issue(&self, id: &UserId, name: &str, channel: &ChannelName, ttl: Duration) -> String {
        let now = unix_time().as_secs();
        let claims = IssuedClaims {
            id,
            name,
            channel: channel.as_str(),
            iat: now,
            exp: now.saturating_add(ttl.as_secs()).min(i64::MAX.unsigned_abs()),
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes a key of any length, and the claims are plain JSON"
        )]
        encode(&self.header, &claims, &self.key).expect("strings and integers can be signed")
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("algorithm", &self.header.alg).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct IssuedClaims<'a> {
    id: &'a UserId,
    name: &'a str,
    channel: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

fn signing_key(settings: &Settings) -> Option<(Algorithm, &str, Option<&str>)> {
    let hmac = |name: &String| {
        name.parse::<Algorithm>().ok().filter(|algorithm| algorithm.family() == AlgorithmFamily::Hmac)
    };
    let secret = settings.secret.expose_secret();
    if !secret.is_empty()
        && let Some(algorithm) = settings.algorithms.iter().find_map(hmac)
    {
        return Some((algorithm, secret, None));
    }
    settings.keys.iter().find_map(|key| {
        let secret = key.secret.as_ref()?.expose_secret();
        let algorithm = hmac(&key.algorithm)?;
        (!secret.is_empty()).then_some((algorithm, secret, key.kid.as_deref()))
    })
}
