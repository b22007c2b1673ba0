//! What channels keep: the [messages](rings) of channels with a history, and the [last event](last_events) of cache channels.

mod entry;
mod last_events;
mod ring;
mod rings;
mod since;

pub use entry::{Content, Entry};
pub use last_events::{Kept, Knowledge, LastEvents, Shared};
pub use ring::{Missed, Since};
pub use rings::{Limits, Rings};
