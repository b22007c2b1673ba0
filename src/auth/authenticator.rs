use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Uri;
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::TokenClaims;
use super::crypto_provider::install_crypto_provider;
use super::jwks_url::jwks_url;
use super::keys::{KeySet, VerificationKey};
use super::{Identity, Jwks, KeyProblem, Revocations, Settings, TokenRejectReason};

/// Verifies tokens.
#[derive(Debug)]
pub struct Authenticator {
    requirements: ArcSwap<Requirements>,
    revocations: Arc<Revocations>,
    /// As it was at the start.
    jwks_url: Option<Uri>,
    /// `None`: not yet.
    fetched: ArcSwapOption<Jwks>,
    unknown_key: UnknownKeyHook,
}

/// Called for each token that names a key which is not there.
#[derive(Default)]
struct UnknownKeyHook(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for UnknownKeyHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnknownKeyHook").finish_non_exhaustive()
    }
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
        let requirements = Requirements::new(settings)?;
        Ok(Self {
            requirements: ArcSwap::from_pointee(requirements),
            revocations: Arc::default(),
            jwks_url: jwks_url(settings).unwrap_or_default(),
            fetched: ArcSwapOption::empty(),
            unknown_key: UnknownKeyHook::default(),
        })
    }

    /// Replaces the keys and what else a token must have. The error lists all problems, and nothing is replaced then.
    pub fn set_requirements(&self, settings: &Settings) -> Result<(), Vec<KeyProblem>> {
        self.requirements.store(Arc::new(Requirements::new(settings)?));
        Ok(())
    }

    /// Whether there are keys, or will be.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.requirements.load().keys.is_empty() || self.jwks_url.is_some()
    }

    /// Whether tokens can be verified: the first keys of a JSON Web Key Set may not have been fetched yet.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.requirements.load().keys.is_empty() || self.jwks_url.is_none() || self.has_fetched_keys()
    }

    /// Where more keys are.
    #[must_use]
    pub fn jwks_url(&self) -> Option<&Uri> {
        self.jwks_url.as_ref()
    }

    #[must_use]
    pub fn has_fetched_keys(&self) -> bool {
        self.fetched.load().is_some()
    }

    /// Replaces the keys that were fetched. Returns whether they are others.
    pub fn set_fetched_keys(&self, keys: Jwks) -> bool {
        let keys = Arc::new(keys);
        let before = self.fetched.swap(Some(keys.clone()));
        before.is_none_or(|before| !before.is_same(&keys))
    }

    /// Calls `hook` for each token that names a key which is neither in the settings nor among those that were fetched. Only the
    /// first call to this has an effect.
    pub fn on_unknown_key(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _ = self.unknown_key.0.set(Box::new(hook));
    }

    /// Problems that do not prevent the start, such as a short secret.
    #[must_use]
    pub fn warnings(&self) -> Vec<KeyProblem> {
        self.requirements.load().warnings.clone()
    }

    /// Verifies a token's signature and claims. `now` is Unix time in seconds.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenRejectReason> {
        let requirements = self.requirements.load();
        if requirements.keys.is_empty() && self.jwks_url.is_none() {
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
        self.verify_signature(&requirements, &header, message, signature)?;
        let Requirements { leeway, issuer, audience, .. } = &**requirements;
        let identity = TokenClaims::parse(&decode(payload)?)?.verify(now, *leeway, issuer, audience)?;
        if self.is_revoked(&identity, now) { Err(TokenRejectReason::Revoked) } else { Ok(identity) }
    }

    /// Whether a token that was verified has been revoked. Whoever has made its connection known to the hub asks again: otherwise a
    /// revocation in between would find neither.
    #[must_use]
    pub fn is_revoked(&self, token: &Identity, now: u64) -> bool {
        self.revocations.include(&token.id, token.issued_at, token.jti.as_deref(), now)
    }

    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    fn verify_signature(
        &self,
        requirements: &Requirements,
        header: &Header<'_>,
        message: &str,
        signature: &str,
    ) -> Result<(), TokenRejectReason> {
        // `none` and unknown algorithms fail here.
        let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenRejectReason::AlgorithmNotAccepted)?;
        let mut reason = TokenRejectReason::AlgorithmNotAccepted;
        let fetched = self.fetched.load();
        let fetched = fetched.as_deref().map(Jwks::keys).unwrap_or_default();
        let keys = || requirements.keys.iter().chain(fetched);
        for key in keys() {
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
        if self.jwks_url.is_some()
            && header.kid.as_ref().is_some_and(|kid| keys().all(|key| !key.is_named(kid)))
        {
            if let Some(hook) = self.unknown_key.0.get() {
                hook();
            }
            if reason == TokenRejectReason::AlgorithmNotAccepted {
                reason = TokenRejectReason::UnknownKey;
            }
        }
        Err(reason)
    }
}

impl Requirements {
    fn new(settings: &Settings) -> Result<Self, Vec<KeyProblem>> {
        let KeySet { usable: keys, mut problems, warnings } = KeySet::read(settings);
        problems.extend(jwks_url(settings).err());
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
