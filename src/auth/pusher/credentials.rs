use std::fmt;
use std::sync::Arc;

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// An app's id, key and secrets. Share it behind an `Arc`: cloning copies the secrets.
#[derive(Clone)]
pub struct AppCredentials {
    id: Arc<str>,
    key: Arc<str>,
    secrets: Vec<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialsError {
    #[error("an app needs an id")]
    NoId,
    #[error("an app needs a key")]
    NoKey,
    /// Other characters would make `key:signature` ambiguous or not fit into a path.
    #[error("an app's key may only contain letters, digits, '-', '_' and '.'")]
    KeyCharacter,
    #[error("an app needs a secret, and no secret may be empty")]
    NoSecret,
}

impl AppCredentials {
    /// The first secret signs. Signatures of all of them are accepted, so that a secret can be replaced while clients still
    /// hold signatures of the previous one.
    pub fn new(id: &str, key: &str, secrets: Vec<SecretString>) -> Result<Self, CredentialsError> {
        if id.is_empty() {
            return Err(CredentialsError::NoId);
        }
        if key.is_empty() {
            return Err(CredentialsError::NoKey);
        }
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(CredentialsError::KeyCharacter);
        }
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose_secret().is_empty()) {
            return Err(CredentialsError::NoSecret);
        }
        Ok(Self { id: id.into(), key: key.into(), secrets })
    }

    /// The id in paths of the HTTP API.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The public key that clients connect with.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The `X-Pusher-Signature` of a webhook's body: HMAC-SHA256 in lowercase hexadecimal.
    #[must_use]
    pub fn sign_webhook(&self, body: &[u8]) -> String {
        self.sign(&[body])
    }

    /// Signs the concatenated parts with the first secret.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> String {
        self.secrets.first().map_or_else(String::new, |secret| {
            let signature = hmac::sign(&hmac_key(secret), &parts.concat());
            hex::encode(signature)
        })
    }

    /// Whether the signature of the concatenated parts is by one of the secrets. Compares in constant time.
    pub(super) fn verify_signature(&self, signature: &str, parts: &[&[u8]]) -> bool {
        let Ok(signature) = hex::decode(signature) else { return false };
        let text = parts.concat();
        self.secrets.iter().any(|secret| hmac::verify(&hmac_key(secret), &text, &signature).is_ok())
    }
}

impl fmt::Debug for AppCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCredentials").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

fn hmac_key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
}
