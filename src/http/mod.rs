//! Routers: what is served on the public port and on the operators' port.

mod admin;
mod answer;
pub mod console;
mod disconnect;
mod guard;
mod path;
mod public;
pub mod pusher;
mod settings;

pub use admin::{AdminState, Load, admin};
pub use guard::AdminHosts;
pub use public::public;
pub use settings::{Admin, Console};
