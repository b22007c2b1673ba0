//! The integration tests: the real binary over real sockets, a real Redis, Laravel's own classes, real proxies.
//!
//! One crate with a module per subject, because every test crate links the whole server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that panics is how a test fails"
)]

mod admin_port;
mod api;
mod architecture;
mod bench;
mod broker;
mod cli;
mod dockerfile;
mod docs;
mod faults;
mod fuzz_smoke;
mod health;
mod history;
mod hostile;
mod laravel;
mod logging;
mod metrics;
mod native;
mod nginx;
mod nodes;
mod packaging;
mod prometheus;
mod pusher;
mod pusher_http;
mod reload;
mod settings_page;
mod shutdown;
mod startup;
mod support;
mod traces;
mod walks;
