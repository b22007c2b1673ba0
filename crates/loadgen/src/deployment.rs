//! The parameters of the server under test. Secrets stay with the caller, which signs.

use std::sync::Arc;

use secrecy::SecretString;

/// The deployment under test, as its settings describe it.
pub struct Deployment {
    /// Where clients connect if no `--url` is given.
    pub url: String,
    pub credentials: Credentials,
    /// Messages per second that the server accepts from one connection; 0 means no limit.
    pub messages_per_second: u32,
    /// The Redis that the nodes share.
    pub redis: Option<RedisTopic>,
}

/// How clients prove who they are; this selects the protocol.
pub enum Credentials {
    /// The native protocol: a token for each connection.
    Tokens(MintToken),
    /// The Pusher protocol: the signatures of an app.
    App(Arc<dyn AppSigner>),
    /// A plain server, which asks for nothing.
    None,
}

/// Mints a token for a user and a channel.
pub type MintToken = Box<dyn Fn(i64, &str) -> anyhow::Result<String> + Send + Sync>;

/// Signs for an app of the Pusher protocol.
pub trait AppSigner: Send + Sync {
    /// The id in the paths of the HTTP API.
    fn id(&self) -> &str;
    /// The public key that clients connect with.
    fn key(&self) -> &str;
    /// The `auth` of a subscription.
    fn sign_channel(&self, socket_id: &str, channel: &str) -> String;
    /// The query string that authenticates a `POST` of `body` to `path` now.
    fn sign_request(&self, path: &str, body: &[u8]) -> String;
}

/// Where Laravel publishes.
pub struct RedisTopic {
    pub url: SecretString,
    /// The name with its prefix.
    pub topic: String,
}
