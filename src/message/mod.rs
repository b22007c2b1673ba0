//! The nouns that every room shares. This room knows nothing of any other.

mod broadcast;
mod by_name;
mod channel;
mod channel_info;
mod close;
mod dialect;
mod dispatch;
mod event;
mod frame;
pub mod json;
mod member;
mod node_name;
mod notice;
mod position;
mod signal;
mod socket_id;
mod user;

pub use broadcast::Broadcast;
pub use by_name::{ByName, Named};
pub use channel::{ChannelName, InvalidChannelName};
pub use channel_info::{ChannelInfo, LastEvent};
pub use close::Close;
pub use dialect::{ChannelKind, Dialect, InvalidBroadcast};
pub use dispatch::Dispatch;
pub use event::{Audience, Event, Sender};
pub use frame::Frame;
pub use member::Member;
pub use node_name::NodeName;
pub use notice::Notice;
pub use position::{InvalidPosition, Position};
pub use signal::{InvalidSignal, Signal};
pub use socket_id::{InvalidSocketId, SocketId};
pub use user::{InvalidUserId, UserId};
