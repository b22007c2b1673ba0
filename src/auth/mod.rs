//! Who is it? JWT in, [`Identity`] out. Knows no sockets and no runtime.

mod settings;

pub use settings::{KeySettings, Settings};
