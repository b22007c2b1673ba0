use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::TokenClaims;
use super::crypto_provider::install_crypto_provider;
use super::keys::{KeySet, VerificationKey};
use super::{Identity, KeyProblem, Settings, TokenRejectReason};

/// Verifies tokens.
#[derive(Debug)]
pub struct Authenticator {
    requirements: ArcSwap<Requirements>,
}

/// What a token must have.
#[derive(Debug)]
struct Requirements {
    keys: Vec<VerificationKey>,
    issuer: String,
    audience: String,
    leeway: u64,
    warnings: Vec<KeyProblem>,
}

impl Authenticator {
    /// Reads the keys. The error lists all problems with them. Without keys, every token is rejected.
    pub fn new(settings: &Settings) -> Result<Self, Vec<KeyProblem>> {
        install_crypto_provider();
        Ok(Self { requirements: ArcSwap::from_pointee(Requirements::new(settings)?) })
    }

    /// Replaces the keys and what else a token must have. The error lists all problems, and nothing is replaced then.
    pub fn set_requirements(&self, settings: &Settings) -> Result<(), Vec<KeyProblem>> {
        self.requirements.store(Arc::new(Requirements::new(settings)?));
        Ok(())
    }

    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.requirements.load().keys.is_empty()
    }

    /// Problems that do not prevent the start, such as a short secret.
    #[must_use]
    pub fn warnings(&self) -> Vec<KeyProblem> {
        self.requirements.load().warnings.clone()
    }

    /// Verifies a token's signature and claims. `now` is Unix time in seconds.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenRejectReason> {
        let requirements = self.requirements.load();
        if requirements.keys.is_empty() {
            return Err(TokenRejectReason::NoKeys);
        }
        if token.is_empty() {
            return Err(TokenRejectReason::Missing);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRejectReason::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenRejectReason::Malformed)?;
        if payload.contains('.') {
            return Err(TokenRejectReason::Malformed);
        }
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenRejectReason::Malformed)?;
        if header.crit.is_some() {
            // No critical extension is supported, so such a token must be rejected (RFC 7515, section 4.1.11).
            return Err(TokenRejectReason::Malformed);
        }
        requirements.verify_signature(&header, message, signature)?;
        let Requirements { leeway, issuer, audience, .. } = &**requirements;
        TokenClaims::parse(&decode(payload)?)?.verify(now, *leeway, issuer, audience)
    }
}

impl Requirements {
    fn new(settings: &Settings) -> Result<Self, Vec<KeyProblem>> {
        let KeySet { usable: keys, problems, warnings } = KeySet::read(settings);
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

    fn verify_signature(
        &self,
        header: &Header<'_>,
        message: &str,
        signature: &str,
    ) -> Result<(), TokenRejectReason> {
        // `none` and unknown algorithms fail here.
        let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenRejectReason::AlgorithmNotAccepted)?;
        let mut reason = TokenRejectReason::AlgorithmNotAccepted;
        for key in &self.keys {
            if !key.algorithms.contains(&algorithm) {
                continue;
            }
            if let (Some(kid), Some(wanted)) = (&key.kid, &header.kid)
                && kid != wanted
            {
                if reason == TokenRejectReason::AlgorithmNotAccepted {
                    reason = TokenRejectReason::UnknownKey;
                }
                continue;
            }
            match crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) => reason = TokenRejectReason::BadSignature,
                // The keys were tested at startup, so the signature is not base64url.
                Err(_) => return Err(TokenRejectReason::Malformed),
            }
        }
        Err(reason)
    }
}

/// The relevant members of a token's header.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(default, borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

fn decode(part: &str) -> Result<Vec<u8>, TokenRejectReason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRejectReason::Malformed)
}
