use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::Claims;
use super::keys::{Key, Keys};
use super::{Identity, Problem, Refusal, Settings};

/// Tells whether a token is genuine, and whose it is.
///
/// Built once: keys are read and checked at start. Cheap to ask, and good for any number of threads.
#[derive(Debug)]
pub struct Authenticator {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    leeway: u64,
    warnings: Vec<Problem>,
}

impl Authenticator {
    /// Reads the keys. The error lists everything that is wrong with them. Without any, every token is refused.
    pub fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let Keys { usable: keys, problems, warnings } = Keys::read(settings);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            keys,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway.as_secs(),
            warnings,
        })
    }

    /// Whether there is a key that a token could be good for.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What the owner should know although it works, such as a short secret.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Checks a token's signature and claims. `now` is in seconds since the Unix epoch.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, Refusal> {
        if !self.has_keys() {
            return Err(Refusal::NoKeys);
        }
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
        if header.crit.is_some() {
            // Who does not understand an extension marked critical has to refuse (RFC 7515, section 4.1.11).
            return Err(Refusal::Malformed);
        }
        self.verify_signature(&header, message, signature)?;
        Claims::parse(&decode(payload)?)?.accept(now, self.leeway, &self.issuer, &self.audience)
    }

    fn verify_signature(&self, header: &Header<'_>, message: &str, signature: &str) -> Result<(), Refusal> {
        // `none` and all that is unknown fail here.
        let algorithm: Algorithm = header.alg.parse().map_err(|_| Refusal::AlgorithmNotAccepted)?;
        let mut refusal = Refusal::AlgorithmNotAccepted;
        for key in &self.keys {
            if !key.algorithms.contains(&algorithm) {
                continue;
            }
            if let (Some(kid), Some(wanted)) = (&key.kid, &header.kid)
                && kid != wanted
            {
                if refusal == Refusal::AlgorithmNotAccepted {
                    refusal = Refusal::UnknownKey;
                }
                continue;
            }
            match crypto::verify(signature, message.as_bytes(), &key.verifies, algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) => refusal = Refusal::BadSignature,
                // The keys were tried at start, so it can only be the signature's base64.
                Err(_) => return Err(Refusal::Malformed),
            }
        }
        Err(refusal)
    }
}

/// The parts of a token's header that matter.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(default, borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}
