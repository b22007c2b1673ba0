//! Keeps what tokens are verified against up to date: the keys of a JSON Web Key Set, and revocations on all nodes.

mod key_refresher;
mod revoker;

pub use key_refresher::refresh_keys;
pub use revoker::{RevokeError, Revoker};
