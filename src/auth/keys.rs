//! The keys of the settings, ready to verify with.

use std::fs;
use std::path::Path;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use secrecy::ExposeSecret;
use simple_asn1::ASN1Block;
use thiserror::Error;

use super::{KeySettings, Settings};

/// Shorter secrets can be brute-forced from a single token (RFC 7518, section 3.2, requires 256 bits).
const SAFE_SECRET_BYTES: usize = 32;
/// RFC 7518, section 3.3, requires 2048 bits.
const SAFE_RSA_BYTES: usize = 2048 / 8;

/// A problem with the settings in `[auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct KeyProblem {
    /// The setting, such as `auth.keys[1].algorithm`.
    pub key: String,
    /// What is wrong and how to fix it.
    pub message: String,
}

/// A key and the algorithms it may be used with. A token does not choose how its key is used.
#[derive(Debug)]
pub(super) struct VerificationKey {
    pub(super) kid: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl VerificationKey {
    pub(super) fn is_named(&self, kid: &str) -> bool {
        self.kid.as_deref() == Some(kid)
    }
}

/// All keys, in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) usable: Vec<VerificationKey>,
    pub(super) problems: Vec<KeyProblem>,
    pub(super) warnings: Vec<KeyProblem>,
}

impl KeySet {
    pub(super) fn read(settings: &Settings) -> Self {
        let mut set = Self::default();
        set.shared_secret(settings);
        for (index, key) in settings.keys.iter().enumerate() {
            set.extra_key(&format!("auth.keys[{index}]"), key);
        }
        set
    }

    fn shared_secret(&mut self, settings: &Settings) {
        let mut algorithms = Vec::new();
        for name in &settings.algorithms {
            match name.parse::<Algorithm>() {
                Ok(algorithm) if algorithm.family() == AlgorithmFamily::Hmac => algorithms.push(algorithm),
                Ok(_) => self.problem(
                    "auth.algorithms",
                    format!(
                        "{name} does not work with a shared secret; add its public key under [[auth.keys]]"
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
            self.problem("auth.algorithms", "is empty, but auth.secret needs an algorithm; use [\"HS256\"]");
        }
        if let Some(key) = self.hmac("auth.secret", secret) {
            self.usable.push(VerificationKey { kid: None, algorithms, key });
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
            self.problem(&format!("{at}.kid"), "is empty; remove it to try the key for every token");
        }
        let secret = settings.secret.as_ref().map(ExposeSecret::expose_secret).filter(|s| !s.is_empty());
        let hmac = algorithm.family() == AlgorithmFamily::Hmac;
        let key = match (secret, &settings.public_key_file) {
            (Some(_), Some(_)) => {
                self.problem(
                    at,
                    "has both a secret and a public_key_file; keep the one that the algorithm uses",
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
                    format!("{} needs a public key file", settings.algorithm),
                );
                None
            }
        };
        if let Some(key) = key {
            self.usable.push(VerificationKey { kid: settings.kid.clone(), algorithms: vec![algorithm], key });
        }
    }

    fn hmac(&mut self, at: &str, secret: &str) -> Option<DecodingKey> {
        if secret.trim_start().starts_with("-----BEGIN") {
            // With a public key as the shared secret, anyone could sign tokens.
            self.problem(at, "is a PEM file, not a shared secret; add a public key under [[auth.keys]]");
            return None;
        }
        if secret.len() < SAFE_SECRET_BYTES {
            self.warning(
                at,
                format!(
                    "has {} bytes; a secret under {SAFE_SECRET_BYTES} bytes can be guessed from a token: \
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
            self.warning(at, format!("{} has fewer than 2048 bits; use a longer key", path.display()));
        }
        Some(key)
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(KeyProblem { key: key.to_owned(), message: message.into() });
    }

    fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(KeyProblem { key: key.to_owned(), message: message.into() });
    }
}

/// Whether verifying with the key can succeed: the PEM may hold another curve, or garbage.
pub(super) fn is_usable(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let Ok(bytes) = key.try_get_as_bytes() else { return false };
    let is_point =
        |coordinate: usize| bytes.len() == 1 + 2 * coordinate && bytes.first() == Some(&UNCOMPRESSED);
    match algorithm {
        Algorithm::ES256 => is_point(32),
        Algorithm::ES384 => is_point(48),
        Algorithm::EdDSA => bytes.len() == 32,
        // ring verifies these with shorter keys, too.
        Algorithm::RS256 | Algorithm::RS512 => rsa_bytes(key).is_some_and(|bytes| bytes >= 1024 / 8),
        _ => rsa_bytes(key).is_some_and(|bytes| bytes >= SAFE_RSA_BYTES),
    }
}

/// The first byte of a point on a curve whose two coordinates follow (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The length of an RSA key's modulus in bytes; `None` for other keys.
fn rsa_bytes(key: &DecodingKey) -> Option<usize> {
    if key.family() != AlgorithmFamily::Rsa {
        return None;
    }
    let blocks = simple_asn1::from_der(key.try_get_as_bytes().ok()?).ok()?;
    let [ASN1Block::Sequence(_, components)] = &blocks[..] else { return None };
    let [ASN1Block::Integer(_, modulus), ASN1Block::Integer(..)] = &components[..] else { return None };
    usize::try_from(modulus.bits().div_ceil(8)).ok()
}
