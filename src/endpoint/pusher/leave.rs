//! The task that takes connections off their channels, a few at a time: many may end at once, each on many channels.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

/// The channels that a connection leaves in one turn of a task. All connections that end at the same time have their first turn
/// together, and other work waits for all of these.
pub(super) const AT_ONCE: usize = 16;

/// A connection that has ended.
pub(super) trait Ended: Send + Sync {
    /// Leaves at most [`AT_ONCE`] of its channels. Returns whether there are more.
    fn leave_some(&self) -> bool;
}

/// Connections that have ended and are still on channels.
#[derive(Clone)]
pub(super) struct Leaving(UnboundedSender<Arc<dyn Ended>>);

impl Leaving {
    /// Starts the task, which ends with the last sender. Needs a tokio runtime.
    pub(super) fn start() -> Self {
        let (leaving, mut to_leave) = unbounded_channel::<Arc<dyn Ended>>();
        tokio::spawn(async move {
            while let Some(connection) = to_leave.recv().await {
                while connection.leave_some() {
                    yield_now().await;
                }
            }
        });
        Self(leaving)
    }

    pub(super) fn push(&self, connection: Arc<dyn Ended>) {
        // Fails if the task has ended with the runtime.
        let _ = self.0.send(connection);
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaving")
    }
}
