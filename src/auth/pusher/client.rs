use thiserror::Error;

use super::App;

/// Why a client's `auth` was refused. The text is for the developer of the page and quotes nothing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthRefusal {
    /// There is none.
    #[error(
        "a signature is required: send `auth` as the authorization endpoint of your application returns it"
    )]
    Missing,
    /// It is not `key:signature`.
    #[error("`auth` must be <app key>:<signature>")]
    Malformed,
    /// Its key is another app's.
    #[error("`auth` is of another app: does the application sign with the key that the page connects with?")]
    OtherApp,
    /// No secret of the app made it for these texts.
    #[error("the signature in `auth` is wrong: was it made with this app's secret, for this socket_id?")]
    BadSignature,
}

impl App {
    /// Checks a client's permit to join a channel: `key:HMAC(socket_id:channel[:channel_data])`.
    ///
    /// `channel_data` is the text as the client sent it, to the letter.
    pub fn verify_channel(
        &self,
        auth: &str,
        socket_id: &str,
        channel: &str,
        channel_data: Option<&str>,
    ) -> Result<(), AuthRefusal> {
        self.verify(auth, &channel_parts(socket_id, channel, channel_data))
    }

    /// Checks a client's permit to sign in: `key:HMAC(socket_id::user::user_data)`.
    pub fn verify_user(&self, auth: &str, socket_id: &str, user_data: &str) -> Result<(), AuthRefusal> {
        self.verify(auth, &user_parts(socket_id, user_data))
    }

    /// Makes what [`verify_channel`](Self::verify_channel) accepts, as an authorization endpoint does.
    #[must_use]
    pub fn sign_channel(&self, socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
        format!("{}:{}", self.key(), self.sign(&channel_parts(socket_id, channel, channel_data)))
    }

    /// Makes what [`verify_user`](Self::verify_user) accepts.
    #[must_use]
    pub fn sign_user(&self, socket_id: &str, user_data: &str) -> String {
        format!("{}:{}", self.key(), self.sign(&user_parts(socket_id, user_data)))
    }

    fn verify(&self, auth: &str, parts: &[&[u8]]) -> Result<(), AuthRefusal> {
        if auth.is_empty() {
            return Err(AuthRefusal::Missing);
        }
        let (key, signature) = auth.split_once(':').ok_or(AuthRefusal::Malformed)?;
        if key != &**self.key() {
            return Err(AuthRefusal::OtherApp);
        }
        if self.made(signature, parts) { Ok(()) } else { Err(AuthRefusal::BadSignature) }
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
