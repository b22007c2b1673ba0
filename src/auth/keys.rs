//! From settings to keys that are ready to verify with.

use std::fs;
use std::path::Path;

use jsonwebtoken::crypto::{self, rust_crypto};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use secrecy::ExposeSecret;
use thiserror::Error;

use super::{KeySettings, Settings};

/// Shorter secrets can be guessed from a single token (RFC 7518, section 3.2, asks for 256 bits).
const SAFE_SECRET_BYTES: usize = 32;
/// Below this an RSA key is not safe (RFC 7518, section 3.3).
const SAFE_RSA_BYTES: usize = 2048 / 8;

/// Something about `[auth]` that keeps the server from starting, or that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct Problem {
    /// The setting, as `auth.keys[1].algorithm`.
    pub key: String,
    /// What is wrong with it and what to do.
    pub message: String,
}

/// A key and the algorithms that it is good for. A token never chooses what its key is used for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// All keys of the settings, in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Keys {
    pub(super) fn read(settings: &Settings) -> Self {
        let mut read = Self::default();
        read.shared_secret(settings);
        for (index, key) in settings.keys.iter().enumerate() {
            read.extra_key(&format!("auth.keys[{index}]"), key);
        }
        read
    }

    fn shared_secret(&mut self, settings: &Settings) {
        let mut algorithms = Vec::new();
        for name in &settings.algorithms {
            match name.parse::<Algorithm>() {
                Ok(algorithm) if algorithm.family() == AlgorithmFamily::Hmac => algorithms.push(algorithm),
                Ok(_) => self.problem(
                    "auth.algorithms",
                    format!(
                        "{name} does not work with a shared secret; give its public key in [[auth.keys]]"
                    ),
                ),
                Err(_) => {
                    self.problem("auth.algorithms", format!("{name:?} is not one of HS256, HS384 and HS512"));
                }
            }
        }
        let secret = settings.secret.expose_secret();
        if secret.is_empty() {
            return;
        }
        if settings.algorithms.is_empty() {
            self.problem("auth.algorithms", "names no algorithm for auth.secret; use [\"HS256\"]");
        }
        if let Some(key) = self.hmac("auth.secret", secret) {
            self.keys.push(Key { kid: None, algorithms, key });
        }
    }

    fn extra_key(&mut self, at: &str, settings: &KeySettings) {
        let Ok(algorithm) = settings.algorithm.parse::<Algorithm>() else {
            self.problem(
                &format!("{at}.algorithm"),
                format!(
                    "{:?} is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
                     ES384 and EdDSA",
                    settings.algorithm
                ),
            );
            return;
        };
        if settings.kid.as_deref() == Some("") {
            self.problem(
                &format!("{at}.kid"),
                "is empty; leave it out, and the key is tried for every token",
            );
        }
        let secret = settings.secret.as_ref().map(ExposeSecret::expose_secret).filter(|s| !s.is_empty());
        let hmac = algorithm.family() == AlgorithmFamily::Hmac;
        let key = match (secret, &settings.public_key_file) {
            (Some(_), Some(_)) => {
                self.problem(
                    at,
                    "has both a secret and a public_key_file; keep the one that its algorithm uses",
                );
                None
            }
            (Some(secret), None) if hmac => self.hmac(&format!("{at}.secret"), secret),
            (None, Some(path)) if !hmac => self.public(&format!("{at}.public_key_file"), algorithm, path),
            _ if hmac => {
                self.problem(&format!("{at}.secret"), format!("{} needs a secret", settings.algorithm));
                None
            }
            _ => {
                self.problem(
                    &format!("{at}.public_key_file"),
                    format!("{} needs the file of a public key", settings.algorithm),
                );
                None
            }
        };
        if let Some(key) = key {
            self.keys.push(Key { kid: settings.kid.clone(), algorithms: vec![algorithm], key });
        }
    }

    fn hmac(&mut self, at: &str, secret: &str) -> Option<DecodingKey> {
        if secret.trim_start().starts_with("-----BEGIN") {
            // Everybody knows a public key, so everybody could sign with it.
            self.problem(at, "is a PEM file, not a shared secret; give a public key in [[auth.keys]]");
            return None;
        }
        if secret.len() < SAFE_SECRET_BYTES {
            self.warning(
                at,
                format!(
                    "has {} bytes; a secret under {SAFE_SECRET_BYTES} can be guessed from a token: \
                     plan to change it, here and in Laravel",
                    secret.len()
                ),
            );
        }
        Some(DecodingKey::from_secret(secret.as_bytes()))
    }

    fn public(&mut self, at: &str, algorithm: Algorithm, path: &Path) -> Option<DecodingKey> {
        let pem = match fs::read(path) {
            Ok(pem) => pem,
            Err(error) => {
                self.problem(at, format!("cannot read {}: {error}", path.display()));
                return None;
            }
        };
        let (key, what) = match algorithm.family() {
            AlgorithmFamily::Rsa => (DecodingKey::from_rsa_pem(&pem), "an RSA public key"),
            AlgorithmFamily::Ed => (DecodingKey::from_ed_pem(&pem), "an Ed25519 public key"),
            _ if algorithm == Algorithm::ES256 => (DecodingKey::from_ec_pem(&pem), "a P-256 public key"),
            _ => (DecodingKey::from_ec_pem(&pem), "a P-384 public key"),
        };
        let usable = key.ok().filter(|key| is_usable(key, algorithm));
        let Some(key) = usable else {
            self.problem(at, format!("{} is not {what} in PEM, which {algorithm:?} needs", path.display()));
            return None;
        };
        if rsa_bytes(&key).is_some_and(|bytes| bytes < SAFE_RSA_BYTES) {
            self.warning(at, format!("{} has fewer than 2048 bits; make a longer key", path.display()));
        }
        Some(key)
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), message: message.into() });
    }

    fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(Problem { key: key.to_owned(), message: message.into() });
    }
}

/// Whether verifying with the key can work at all: the PEM may hold another curve, or rubbish.
fn is_usable(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let Ok(bytes) = key.try_get_as_bytes() else { return false };
    match key.family() {
        AlgorithmFamily::Rsa => rsa_bytes(key).is_some(),
        // The crate slices these bytes: an Ed448 key has 57, a broken file may have less.
        AlgorithmFamily::Ed => bytes.len() == 32 && crypto::verify("", b"", key, algorithm).is_ok(),
        _ => crypto::verify("", b"", key, algorithm).is_ok(),
    }
}

/// The length of an RSA key's modulus; `None` for what is no RSA key.
fn rsa_bytes(key: &DecodingKey) -> Option<usize> {
    if key.family() != AlgorithmFamily::Rsa {
        return None;
    }
    let components = rust_crypto::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    components(key.try_get_as_bytes().ok()?).ok().map(|(modulus, _)| modulus.len())
}
