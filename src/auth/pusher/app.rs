use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use thiserror::Error;

/// An app's credentials. Cloning shares the texts but copies the secrets; keep it behind an `Arc`.
#[derive(Clone)]
pub struct App {
    id: Arc<str>,
    key: Arc<str>,
    secrets: Vec<SecretString>,
}

/// Why credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidApp {
    /// The id has no characters.
    #[error("an app needs an id")]
    NoId,
    /// The key has no characters.
    #[error("an app needs a key")]
    NoKey,
    /// The key has a character that would make `key:signature` ambiguous or not fit into a path.
    #[error("an app's key has letters, digits, '-', '_' and '.' only")]
    KeyCharacter,
    /// There is no secret, or one has no characters.
    #[error("an app needs a secret, and no secret may be empty")]
    NoSecret,
}

impl App {
    /// Takes the credentials. The first secret signs; all are accepted, so that one can be replaced while clients
    /// still hold signatures of the other.
    pub fn new(id: &str, key: &str, secrets: Vec<SecretString>) -> Result<Self, InvalidApp> {
        if id.is_empty() {
            return Err(InvalidApp::NoId);
        }
        if key.is_empty() {
            return Err(InvalidApp::NoKey);
        }
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(InvalidApp::KeyCharacter);
        }
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose_secret().is_empty()) {
            return Err(InvalidApp::NoSecret);
        }
        Ok(Self { id: id.into(), key: key.into(), secrets })
    }

    /// The id in the paths of the HTTP API.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The public key, which clients connect with.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// What `X-Pusher-Signature` says of a webhook's body: HMAC-SHA256 in lower-case hexadecimal.
    #[must_use]
    pub fn sign_webhook(&self, body: &[u8]) -> String {
        self.sign(&[body])
    }

    /// The signature of these parts, one after the other, by the first secret.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> String {
        let mac = self.secrets.first().and_then(|secret| digest(secret, parts));
        mac.map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()))
    }

    /// Whether one of the secrets made this signature. The comparison takes the same time wherever it differs.
    pub(super) fn made(&self, signature: &str, parts: &[&[u8]]) -> bool {
        let Ok(signature) = hex::decode(signature) else { return false };
        self.secrets
            .iter()
            .filter_map(|secret| digest(secret, parts))
            .any(|mac| mac.verify_slice(&signature).is_ok())
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// HMAC takes a key of any length, so that there always is one.
fn digest(secret: &SecretString, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}
