//! Verifies credentials: JWTs, which yield an [`Identity`], and signatures of the Pusher protocol. Independent of sockets
//! and the runtime.

mod authenticator;
mod claims;
mod identity;
mod keys;
mod token_issuer;
pub mod pusher;
mod reject_reason;
mod settings;

pub use authenticator::Authenticator;
pub use identity::Identity;
pub use keys::KeyProblem;
pub use token_issuer::{TokenIssuer, NoSigningKeyError};
pub use reject_reason::TokenRejectReason;
pub use settings::{KeySettings, Settings};

#[cfg(test)]
mod tests;
