//! The WebSocket edge: handshake, the one socket loop, heartbeat. What messages mean is a
//! [`Conversation`]'s business.

mod address;
mod admission;
mod boundary;
mod bucket;
mod conversation;
mod edge;
mod end;
mod handshake;
mod http_stream;
mod input;
mod native;
mod options;
mod origin;
mod pusher;
mod reader;
mod serve;
mod session;
mod settings;

pub use address::{PeerAddress, TrustedProxies};
pub use admission::Admission;
pub use conversation::{Conversation, Message};
pub use edge::{Edge, Gate, Newcomers};
pub use end::End;
pub use handshake::{Rejection, accept};
pub use http_stream::{HttpProgress, HttpStream};
pub use native::NativeEndpoint;
pub use options::SessionOptions;
pub use origin::{InvalidOrigin, OriginPattern};
pub use pusher::PusherEndpoint;
pub use serve::serve;
pub use settings::{Heartbeat, Limits};
