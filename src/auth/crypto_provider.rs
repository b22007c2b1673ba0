//! The signatures of tokens, on the same implementation of cryptography as TLS: ring.

use std::sync::Once;

use ::signature::{Error, Signer, Verifier};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(TokenSigner { algorithm: *algorithm, key: key.clone() })),
    verifier_factory: |algorithm, key| {
        if algorithm.family() != key.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Box::new(TokenVerifier { algorithm: *algorithm, key: key.clone() }))
    },
    // For JSON Web Keys only.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the cryptography of the `jsonwebtoken` crate in this process, which has none otherwise. Repeating it has no effect.
pub fn install_crypto_provider() {
    static INSTALL: Once = Once::new();
    // Fails if another provider has been installed, which then works just as well.
    INSTALL.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct TokenVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for TokenVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let key = self.key.try_get_as_bytes().map_err(Error::from_source)?;
        let verified = match hmac_algorithm(self.algorithm) {
            Some(algorithm) => hmac::verify(&hmac::Key::new(algorithm, key), message, signature),
            None => {
                UnparsedPublicKey::new(public_key_algorithm(self.algorithm), key).verify(message, signature)
            }
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for TokenVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// RSA keys of less than 2048 bits are accepted where ring has an algorithm for them; the settings warn of them.
fn public_key_algorithm(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        // The others are HMACs, and fail here: an HMAC is no Ed25519 signature.
        _ => &signature::ED25519,
    }
}

struct TokenSigner {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer<Vec<u8>> for TokenSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let key = self.key.as_bytes();
        match self.algorithm {
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_SHA256, key, message),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_SHA384, key, message),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_SHA512, key, message),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_SHA256, key, message),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_SHA384, key, message),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_SHA512, key, message),
            Algorithm::ES256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, key, message),
            Algorithm::ES384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, key, message),
            algorithm => {
                if let Some(algorithm) = hmac_algorithm(algorithm) {
                    return Ok(hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec());
                }
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| Error::new())?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
        }
    }
}

impl JwtSigner for TokenSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(encoding: &'static dyn RsaEncoding, key: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    let pair = RsaKeyPair::from_der(key).map_err(|_| Error::new())?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| Error::new())?;
    Ok(signature)
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, key: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, key, &random).map_err(|_| Error::new())?;
    Ok(pair.sign(&random, message).map_err(|_| Error::new())?.as_ref().to_vec())
}
