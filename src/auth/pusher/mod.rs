//! Signatures of the Pusher protocol: they allow a client to join a channel or sign in, and an application to call the
//! HTTP API. All are HMAC-SHA256 with an app's secret: <https://pusher.com/docs/channels/library_auth_reference>.

mod client_auth;
mod credentials;
mod signed_request;

pub use client_auth::AuthRejectReason;
pub use credentials::{AppCredentials, CredentialsError};
pub use signed_request::{RequestRejectReason, SignedRequest};

#[cfg(test)]
mod tests;
