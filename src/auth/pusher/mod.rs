//! Signatures of the Pusher protocol: who may join a channel, sign in, or call the HTTP API.
//!
//! All are HMAC-SHA256 with an app's secret, as <https://pusher.com/docs/channels/library_auth_reference> has them.

mod app;
mod client;
mod request;

pub use app::{App, InvalidApp};
pub use client::AuthRefusal;
pub use request::{Request, RequestRefusal, TIMESTAMP_TOLERANCE};

#[cfg(test)]
mod tests;
