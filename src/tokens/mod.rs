//! Keeps what tokens are verified against up to date: revocations, on all nodes.

mod revoker;

pub use revoker::{RevokeError, Revoker};
