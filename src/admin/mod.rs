//! The operators' port: health, metrics, and the operators' API.

mod disconnect;
mod guard;
mod metrics_format;
mod routes;
mod settings;
mod state;

pub use guard::AdminHosts;
pub use routes::routes;
pub use settings::Admin;
pub use state::{AdminState, Load, Measure};
