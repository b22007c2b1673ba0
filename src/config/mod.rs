//! The settings of all rooms, loaded in layers. Rooms never import this one.
//!
//! Later layers win: the embedded `config/default.toml`, the file given with `--config`, the environment with the
//! variables of `--env-file`. All problems are reported at once: an invalid value is replaced by that of the layer below, so
//! that it does not hide other problems.

mod aliases;
mod changes;
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
mod schema;
mod secrets;
mod settings;
mod show;
mod tables;
mod validator;
mod warnings;

#[cfg(test)]
mod tests;

pub use changes::changes;
pub use environment::Environment;
pub use key::Key;
pub use load::{AuthKeys, Config, load};
pub use problem::Problems;
pub use settings::Settings;
pub use show::show;

use load::SettingEntry;
use problem::Problem;
