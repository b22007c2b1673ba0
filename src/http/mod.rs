//! Routers: public, admin, console.
mod settings;
pub use settings::{Admin, Console};
