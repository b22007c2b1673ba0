//! Yamabiko carries live messages between a Laravel application and its browsers.
//!
//! The rooms and the arrows between them are described in `ARCHITECTURE.md`; `tests/it/architecture/mod.rs`
//! holds the code to it.

pub mod admin;
pub mod api;
pub mod auth;
pub mod broker;
pub mod channels;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod console;
pub mod endpoint;
pub mod history;
mod http_client;
pub mod hub;
pub mod message;
mod page_assets;
pub mod presence;
pub mod protocol;
pub mod server;
pub mod telemetry;
mod tls;
pub mod tokens;
mod trace_context;
pub mod transport;
mod unix_time;
mod webhook_target;
pub mod webhooks;
