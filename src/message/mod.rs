//! The nouns that every room shares. This room knows nothing of any other.

mod channel;
mod close;
mod event;
mod frame;

pub use channel::{ChannelName, InvalidChannelName};
pub use close::Close;
pub use event::{Audience, Event, Sender};
pub use frame::Frame;
