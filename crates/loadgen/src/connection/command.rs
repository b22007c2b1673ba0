use crate::publisher::Publisher;

/// A command of the runner to a connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// Publish under this number. In a closed loop, replace refused messages and send one for each own copy.
    Publish { publisher: u16, closed_loop: bool },
    /// For each copy received of the publisher with this number, have it send another message. Drives the closed loop
    /// of a publisher that receives no copies itself.
    Refill { number: u16, publisher: Publisher },
    /// Send a message that was due at this time. [`Run::begin`](crate::run::Run::begin) has been called for it.
    Send(u64),
    /// Stop reading until the run is over.
    Stall,
    /// Report, and drop the connection without a close frame.
    Vanish,
    /// Report, and close.
    Finish,
}
