//! The operators' port: health, metrics, the operators' API and page.

mod disconnect;
mod guard;
mod metrics_format;
mod page;
mod routes;
mod settings;
mod state;

pub use guard::AdminHosts;
pub use routes::routes;
pub use settings::Admin;
pub use state::{AdminState, Load, Measure};
