//! The operators' port: health, metrics, and the operators' API.

mod disconnect;
mod guard;
mod routes;
mod settings;

pub use guard::AdminHosts;
pub use routes::{AdminState, Load, routes};
pub use settings::Admin;
