//! The settings of all rooms, gathered in layers. Rooms never import this one.
//!
//! The later wins: the embedded `config/default.toml`, the file given with `--config`, the environment with the
//! variables of `--env-file`. All that is
//! wrong is reported in one go. A value that is wrong is left out and the next layer's stands in for it, so that one
//! mistake does not hide the others.

mod aliases;
mod checks;
mod env_file;
mod environment;
mod file;
mod key;
mod layer;
mod load;
mod problem;
mod pusher_app;
mod redis_url;
mod repeated;
mod schema;
mod settings;
mod show;

#[cfg(test)]
mod tests;

pub use environment::Environment;
pub use key::Key;
pub use load::{AuthKeys, Config, Entry, load};
pub use problem::{Problem, Problems};
pub use settings::Settings;
pub use show::show;
