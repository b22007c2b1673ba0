//! Verifies credentials: JWTs, which yield an [`Identity`], and signatures of the Pusher protocol. Independent of sockets
//! and the runtime.

mod authenticator;
mod claims;
mod crypto_provider;
mod identity;
mod jwks;
mod jwks_url;
mod keys;
pub mod pusher;
mod reject_reason;
mod revocations;
mod settings;
mod token_issuer;

pub use authenticator::Authenticator;
pub use crypto_provider::install_crypto_provider;
pub use identity::Identity;
pub use jwks::{Jwks, JwksError};
pub use keys::KeyProblem;
pub use reject_reason::TokenRejectReason;
pub use revocations::{Revocations, RevocationsFullError};
pub use settings::Settings;
pub use token_issuer::{NoSigningKeyError, TokenIssuer};

use settings::KeySettings;

#[cfg(test)]
mod tests;
