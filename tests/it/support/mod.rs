//! Support for tests of the real binary: a server to start, clients to connect to it, tokens.
#![allow(unreachable_pub, reason = "the module is what it is public in")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    reason = "a helper that panics is how a test fails, and it is called with whatever is at hand"
)]

pub mod application;
mod client;
mod event_source;
mod http;
pub mod line;
pub mod ports;
pub mod proxy;
mod raw;
pub mod redis;
mod server;
mod signals;
pub mod tls_proxy;
mod token;

pub use client::Client;
pub use event_source::EventSource;
pub use http::{Lines, Request, Response};
pub use raw::{Frame, Raw};
pub use server::{Exit, Options, Server};
pub use signals::send_signal;
pub use token::{SECRET, claims, token};

use std::time::{Duration, Instant};

/// How long a test waits for something that comes at once on an idle machine. Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls a condition every 20 ms until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "was due: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
