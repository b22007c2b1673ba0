//! What is said on a wire: pure functions between bytes and events. No I/O.
pub mod native;
pub mod pusher;
