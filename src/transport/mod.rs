//! How bytes travel: TCP, HTTP/1.1 and WebSocket. Accepts connections, checks handshakes, and runs one task per
//! WebSocket connection. What the messages mean is up to a [`ConnectionHandler`].

mod admission;
mod client_address;
pub mod close;
mod connection;
mod connection_handler;
mod connection_options;
mod connection_phase;
mod descriptors;
mod disconnect_reason;
mod endpoint_context;
mod handshake;
mod http_connections;
mod http_stream;
mod inquiries;
mod json_response;
mod listener;
mod message_boundary;
mod message_reader;
mod origin;
mod path;
mod read_buffer;
mod request_body;
mod request_host;
mod serve;
mod settings;
mod timed_body;

pub use admission::{Admission, Admitted, Full};
pub use client_address::{PeerAddress, TrustedProxies};
pub use connection_handler::{ConnectionHandler, Message};
pub use connection_options::ConnectionOptions;
pub use descriptors::Descriptors;
pub use disconnect_reason::DisconnectReason;
pub use endpoint_context::{EndpointContext, NewConnections};
pub use handshake::{Rejection, accept, retries_on_503};
pub use inquiries::{ConnectionInfo, Inquiries};
pub use json_response::{Accepted, ApiError};
pub use listener::{HttpTimeouts, accept_http, bind};
pub use origin::{InvalidOrigin, OriginPattern, OriginPolicy};
pub use path::{RequestedUri, normalize, not_found};
pub use request_body::{BodyError, RequestBody};
pub use request_host::{Host, check_origin, single_header};
pub use serve::serve;
pub use settings::{Heartbeat, Limits};
