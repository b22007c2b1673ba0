//! What a connection is told while it works.

use crate::pacer::Publisher;

/// One thing that it is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// It sends on its channel, under this number; in a closed loop it makes up for what is refused.
    Publish { publisher: u16, window: bool },
    /// It answers for the closed loop of a publisher that hears nothing of itself: for each copy that it receives of
    /// that one's, that one has another message to send.
    Refill { of: u16, by: Publisher },
    /// Send a message that is due at this time, and that was begun.
    Send(u64),
    /// Read nothing any more, until the run is over.
    Stall,
    /// Report, and be gone without a word, as when a network is lost.
    Vanish,
    /// The run is over: report and say goodbye.
    Finish,
}
