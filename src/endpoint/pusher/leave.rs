//! The task that takes connections off their channels, a few at a time: many may end at once, each on many channels.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use super::kept_session::KeptSession;
use crate::channels::Channels;

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

/// A session that has ended without a connection, and is still on channels.
pub(super) struct EndedSession {
    channels: Arc<Channels>,
    session: Mutex<KeptSession>,
}

impl EndedSession {
    pub(super) fn new(channels: Arc<Channels>, session: KeptSession) -> Self {
        Self { channels, session: Mutex::new(session) }
    }
}

impl Ended for EndedSession {
    fn leave_some(&self) -> bool {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = session.channels.len().saturating_sub(AT_ONCE);
        for kept in session.channels.split_off(rest).into_iter().filter(|kept| kept.is_local) {
            self.channels.exit(&session.app, kept.channel.name(), session.socket_id);
        }
        !session.channels.is_empty()
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaving")
    }
}
