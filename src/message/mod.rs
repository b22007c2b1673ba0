//! The nouns that every room shares. This room knows nothing of any other.

mod by_name;
mod channel;
mod close;
mod dispatch;
mod event;
mod frame;
pub mod json;
mod member;
mod position;
mod signal;
mod socket_id;
mod user;

pub use by_name::{ByName, Named};
pub use channel::{ChannelName, InvalidChannelName};
pub use close::Close;
pub use dispatch::Dispatch;
pub use event::{Audience, Event, Sender};
pub use frame::Frame;
pub use member::Member;
pub use position::{InvalidPosition, Position};
pub use signal::{InvalidSignal, Signal};
pub use socket_id::{InvalidSocketId, SocketId};
pub use user::{InvalidUserId, UserId};
