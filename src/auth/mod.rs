//! Who is it? JWT in, [`Identity`] out; signatures of the Pusher protocol in, permits out. Knows no sockets and no
//! runtime.

mod authenticator;
mod claims;
mod identity;
mod keys;
mod minter;
pub mod pusher;
mod refusal;
mod settings;

pub use authenticator::Authenticator;
pub use identity::Identity;
pub use keys::Problem;
pub use minter::{Minter, NoSigningKey};
pub use refusal::Refusal;
pub use settings::{KeySettings, Settings};

#[cfg(test)]
mod tests;
