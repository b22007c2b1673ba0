use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::http_stream::HttpProgress;
use crate::telemetry::{Metrics, Reason};

/// The connections of a port that speak HTTP: those that are not upgraded, or not yet, and whose response has an end. They have a limit of their own, so that no
/// client can use up the file descriptors without asking for a WebSocket.
///
/// At the limit, the oldest connection is closed: a handshake takes only a few round trips, so that the oldest ones are idle or
/// malicious.
#[derive(Debug)]
pub(super) struct HttpConnections {
    room: Arc<Semaphore>,
    limit: usize,
    /// Oldest first. Some may have ended.
    open: VecDeque<Open>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    task: AbortHandle,
    progress: Weak<HttpProgress>,
}

impl Open {
    /// Whether it has no place any more.
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.progress.upgrade().is_none_or(|progress| progress.is_endless())
    }
}

/// Connections younger than this are not closed.
const YOUNG: Duration = Duration::from_secs(1);

/// How long to wait for an aborted task to free its place.
const END_WITHIN: Duration = Duration::from_millis(100);

impl HttpConnections {
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(limit)), limit, open: VecDeque::new(), metrics }
    }

    /// Waits for a place for one more connection. [`HttpProgress`] keeps it until the connection has ended, is upgraded, or begins a
    /// response without an end.
    pub(super) async fn room(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(room) = self.room.clone().try_acquire_owned() {
                return Some(room);
            }
            while self.open.front().is_some_and(Open::is_over) {
                self.open.pop_front();
            }
            let room = self.room.clone().acquire_owned();
            let room = match self.open.front() {
                Some(oldest) if oldest.since.elapsed() < YOUNG => {
                    timeout_at(oldest.since + YOUNG, room).await
                }
                _ => {
                    if let Some(oldest) = self.open.pop_front() {
                        oldest.task.abort();
                        self.metrics.http_dropped.get_or_create(&Reason::new("no_room")).inc();
                        tracing::info!(
                            limit = self.limit,
                            "closed the oldest HTTP connection: too many connections without an upgrade"
                        );
                    }
                    timeout(END_WITHIN, room).await
                }
            };
            if let Ok(room) = room {
                // The semaphore is never closed.
                return room.ok();
            }
        }
    }

    /// Registers a connection that has a permit.
    pub(super) fn opened(&mut self, task: AbortHandle, progress: Weak<HttpProgress>) {
        self.open.push_back(Open { since: Instant::now(), task, progress });
        // A handle keeps the memory of its task after the task has ended.
        if self.open.len() > 2 * (self.limit - self.room.available_permits()).max(32) {
            self.open.retain(|open| !open.is_over());
        }
    }
}
