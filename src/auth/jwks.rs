//! Keys of a JSON Web Key Set (RFC 7517).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use simple_asn1::{ASN1Block, BigInt, BigUint, to_der};
use thiserror::Error;

use super::crypto_provider::install_crypto_provider;
use super::keys::{VerificationKey, is_usable};

/// The keys of a set that tokens can be verified with.
#[derive(Debug, Clone, Default)]
pub struct Jwks(Arc<[VerificationKey]>);

/// Why a set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwksError {
    #[error("it is not a JSON Web Key Set: {{\"keys\":[…]}}")]
    Invalid,
    #[error("it has more than {} keys", Jwks::MAX_KEYS)]
    TooManyKeys,
    #[error("none of its keys verifies signatures with an algorithm that is supported")]
    NoKeys,
}

impl Jwks {
    /// The most keys that a set may have.
    pub const MAX_KEYS: usize = 100;

    /// Reads a set. Keys that are not for verifying signatures, or of an unknown type, are ignored, as RFC 7517, section 5, wants it.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        install_crypto_provider();
        let set: KeySet<'_> = serde_json::from_slice(text).map_err(|_| JwksError::Invalid)?;
        if set.keys.len() > Self::MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let keys: Arc<[VerificationKey]> =
            set.keys.iter().filter_map(|key| verification_key(key.get())).collect();
        if keys.is_empty() { Err(JwksError::NoKeys) } else { Ok(Self(keys)) }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same = |one: &VerificationKey, other: &VerificationKey| {
            let bytes = |key: &VerificationKey| key.key.try_get_as_bytes().ok().map(<[u8]>::to_vec);
            one.kid == other.kid && one.algorithms == other.algorithms && bytes(one) == bytes(other)
        };
        self.len() == other.len() && self.0.iter().zip(&*other.0).all(|(one, other)| is_same(one, other))
    }

    pub(super) fn keys(&self) -> &[VerificationKey] {
        &self.0
    }
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

fn verification_key(text: &str) -> Option<VerificationKey> {
    let jwk: Jwk = serde_json::from_str(text).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (algorithms, key): (&[Algorithm], _) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => (&RSA, rsa_key(&rsa.n, &rsa.e)?),
        AlgorithmParameters::EllipticCurve(point) => {
            let key = DecodingKey::from_ec_components(&point.x, &point.y).ok()?;
            match point.curve {
                EllipticCurve::P256 => (&[Algorithm::ES256], key),
                EllipticCurve::P384 => (&[Algorithm::ES384], key),
                _ => return None,
            }
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (&[Algorithm::EdDSA], DecodingKey::from_ed_components(&pair.x).ok()?)
        }
        // Shared secrets are not published.
        _ => return None,
    };
    let named = jwk.common.key_algorithm.map(|name| name.to_string());
    let algorithms: Vec<Algorithm> = algorithms
        .iter()
        .copied()
        .filter(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")))
        .filter(|algorithm| is_usable(&key, *algorithm))
        .collect();
    (!algorithms.is_empty()).then_some(VerificationKey { kid: jwk.common.key_id, algorithms, key })
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The key in the encoding that ring reads (RFC 8017, appendix A.1.1).
fn rsa_key(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let integer = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(ASN1Block::Integer(0, BigInt::from(BigUint::from_bytes_be(&bytes))))
    };
    let der = to_der(&ASN1Block::Sequence(0, vec![integer(modulus)?, integer(exponent)?])).ok()?;
    Some(DecodingKey::from_rsa_der(&der))
}
