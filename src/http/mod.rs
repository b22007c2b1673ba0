//! Routers: public, admin, console.
pub mod console;
mod settings;
pub use settings::{Admin, Console};
