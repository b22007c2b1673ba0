use thiserror::Error;

use super::StoreState;
use crate::message::{ChannelName, Dispatch, Position};

/// What to read from the history of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreRead {
    pub channel: ChannelName,
    pub after: ReadAfter,
}

/// Where to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadAfter {
    /// Everything that is kept.
    Start,
    /// Messages after this position.
    Position(Position),
    /// Messages with a greater [number](crate::message::Stored::number) of this store.
    Number(StoreState),
    /// Nothing: only what the head is.
    End,
}

/// What the store keeps of a channel.
#[derive(Debug, Clone, Default)]
pub struct StoredHistory {
    /// Identifies the store that was read. `None`: there is none, because the broker keeps no messages or has not stored any.
    pub store: Option<u64>,
    /// The last message that was stored, whether it is still kept or not. `None`: the store knows of none.
    pub head: Option<Head>,
    /// The kept messages that were asked for, the oldest first, with contiguous offsets up to the head.
    pub messages: Vec<StoredMessage>,
    /// Some that were asked for may no longer be kept. If that is known before, no messages are read.
    pub is_trimmed: bool,
}

/// The end of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// See [`Stored::number`](crate::message::Stored::number).
    pub number: u64,
}

/// A message in the history of a channel.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    pub position: Position,
    /// See [`Stored::number`](crate::message::Stored::number).
    pub number: u64,
    /// When it was stored, by the clock of the store: milliseconds since the Unix epoch.
    pub at: u64,
    /// Which of the channels of the dispatch it was stored for.
    pub index: u16,
    pub dispatch: Dispatch,
}

/// Why a store could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It may work later.
    #[error("the store is unreachable")]
    Unreachable,
    /// It will not work: Redis denies it.
    #[error("the Redis ACL denies it")]
    Denied,
}
