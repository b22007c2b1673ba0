//! The nouns that all rooms share. This room imports no other.

mod by_name;
mod channel;
mod close;
mod dispatch;
mod encoding;
mod event;
mod frame;
pub mod json;
mod member;
mod position;
mod signal;
mod socket_id;
mod token_bucket;
mod unix_time;
mod user;

pub use by_name::{ByName, Named};
pub use channel::{ChannelName, InvalidChannelName};
pub use close::{Close, CloseReason, Closes, Reconnect};
pub use dispatch::Dispatch;
pub use encoding::Encoding;
pub use event::{Audience, Event, Sender};
pub use frame::Frame;
pub use member::Member;
pub use position::{InvalidPosition, Position};
pub use signal::{InvalidSignal, Signal};
pub use socket_id::{InvalidSocketId, SocketId};
pub use token_bucket::{Rate, TokenBucket};
pub use unix_time::unix_time;
pub use user::{InvalidUserId, UserId};
