use thiserror::Error;

use super::AppCredentials;

/// Why a client's `auth` is rejected. The text is for the page's developer and contains no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthRejectReason {
    #[error("a signature is required: send `auth` as your application's authorization endpoint returns it")]
    Missing,
    #[error("`auth` must be <app key>:<signature>")]
    Malformed,
    #[error("`auth` names another app: does the application sign with the key that the page connects with?")]
    OtherApp,
    #[error("the signature in `auth` is invalid: was it made with this app's secret, for this socket_id?")]
    BadSignature,
}

impl AuthRejectReason {
    /// For operators.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing_signature",
            Self::Malformed => "malformed_signature",
            Self::OtherApp => "other_app",
            Self::BadSignature => "bad_signature",
        }
    }
}

impl AppCredentials {
    /// Verifies a client's `auth` for a channel: `key:HMAC(socket_id:channel[:channel_data])`.
    ///
    /// `channel_data` must be the text exactly as the client sent it.
    pub fn verify_channel(
        &self,
        auth: &str,
        socket_id: &str,
        channel: &str,
        channel_data: Option<&str>,
    ) -> Result<(), AuthRejectReason> {
        self.verify(auth, &channel_parts(socket_id, channel, channel_data))
    }

    /// Verifies a client's `auth` for signing in: `key:HMAC(socket_id::user::user_data)`.
    pub fn verify_user(&self, auth: &str, socket_id: &str, user_data: &str) -> Result<(), AuthRejectReason> {
        self.verify(auth, &user_parts(socket_id, user_data))
    }

    /// The `auth` that an authorization endpoint returns for a channel.
    #[must_use]
    pub fn sign_channel(&self, socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
        format!("{}:{}", self.key(), self.sign(&channel_parts(socket_id, channel, channel_data)))
    }

    /// The `auth` that an authorization endpoint returns for signing in.
    #[must_use]
    pub fn sign_user(&self, socket_id: &str, user_data: &str) -> String {
        format!("{}:{}", self.key(), self.sign(&user_parts(socket_id, user_data)))
    }

    fn verify(&self, auth: &str, parts: &[&[u8]]) -> Result<(), AuthRejectReason> {
        if auth.is_empty() {
            return Err(AuthRejectReason::Missing);
        }
        let (key, signature) = auth.split_once(':').ok_or(AuthRejectReason::Malformed)?;
        if key != &**self.key() {
            return Err(AuthRejectReason::OtherApp);
        }
        if self.verify_signature(signature, parts) { Ok(()) } else { Err(AuthRejectReason::BadSignature) }
    }
}

fn channel_parts<'a>(socket_id: &'a str, channel: &'a str, channel_data: Option<&'a str>) -> Vec<&'a [u8]> {
    let mut parts = vec![socket_id.as_bytes(), b":", channel.as_bytes()];
    if let Some(data) = channel_data {
        parts.extend([&b":"[..], data.as_bytes()]);
    }
    parts
}

fn user_parts<'a>(socket_id: &'a str, user_data: &'a str) -> [&'a [u8]; 3] {
    [socket_id.as_bytes(), b"::user::", user_data.as_bytes()]
}
