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
/// At the limit, the oldest connection without a request in progress is closed: a handshake takes only a few round trips, so that the
/// oldest ones are idle or malicious. If all of them have one, clients hold them on purpose, and the oldest one is closed.
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
    fn is_idle(&self) -> bool {
        self.progress.upgrade().is_none_or(|progress| progress.is_idle())
    }

    /// From when on it may be closed.
    fn closable_at(&self) -> Instant {
        self.since + if self.is_idle() { IDLE_FROM } else { BUSY_FROM }
    }

    /// Whether it has no place any more.
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.progress.upgrade().is_none_or(|progress| progress.is_endless())
    }
}

/// Younger connections are not closed, so that they can send their request.
const IDLE_FROM: Duration = Duration::from_secs(1);

/// The same while they have a request, which may wait for the application or for other nodes. Not longer, because a client can send a
/// request slowly.
const BUSY_FROM: Duration = Duration::from_secs(5);

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
            self.open.retain(|open| !open.is_over());
            let room = self.room.clone().acquire_owned();
            let room = match self.open.iter().map(Open::closable_at).min() {
                Some(at) if at > Instant::now() => timeout_at(at, room).await,
                _ => {
                    self.close_one();
                    timeout(END_WITHIN, room).await
                }
            };
            if let Ok(room) = room {
                // The semaphore is never closed.
                return room.ok();
            }
        }
    }

    /// Closes the oldest idle connection, or else the oldest one.
    fn close_one(&mut self) {
        let now = Instant::now();
        let idle = self.open.iter().position(|open| open.is_idle() && open.closable_at() <= now);
        if let Some(closed) = self.open.remove(idle.unwrap_or_default()) {
            closed.task.abort();
            self.metrics.http_dropped.get_or_create(&Reason::new("no_room")).inc();
            tracing::info!(
                limit = self.limit,
                idle = idle.is_some(),
                "closed an HTTP connection: too many connections without an upgrade"
            );
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;

    /// Opens connections on all places of a port. Those in `busy` have a request.
    async fn full<const N: usize>(busy: [bool; N]) -> (HttpConnections, [JoinHandle<()>; N]) {
        let mut connections = HttpConnections::new(N, Arc::new(Metrics::new()));
        let mut tasks = Vec::new();
        for is_busy in busy {
            let progress = Arc::new(HttpProgress::new(connections.room().await));
            let known = Arc::downgrade(&progress);
            let request = is_busy.then(|| progress.on_request());
            let task = tokio::spawn(async move {
                let _held = (progress, request);
                pending::<()>().await;
            });
            connections.opened(task.abort_handle(), known);
            tasks.push(task);
        }
        (connections, tasks.try_into().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_request_is_there_is_not_closed_while_another_one_is_idle() {
        let (mut connections, [busy, idle, other]) = full([true, false, false]).await;
        sleep(2 * BUSY_FROM).await;
        let room = connections.room().await;
        assert!(room.is_some() && idle.await.unwrap_err().is_cancelled(), "the oldest idle one is closed");
        assert!(!busy.is_finished() && !other.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_hold_all_places_with_requests_lose_the_oldest() {
        let (mut connections, [oldest, other]) = full([true, true]).await;
        let begin = Instant::now();
        assert!(connections.room().await.is_some());
        assert!(begin.elapsed() >= BUSY_FROM);
        assert!(oldest.await.unwrap_err().is_cancelled());
        assert!(!other.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_connection_has_time_to_send_its_request() {
        let (mut connections, [idle]) = full([false]).await;
        let begin = Instant::now();
        assert!(connections.room().await.is_some());
        assert!(idle.await.unwrap_err().is_cancelled());
        assert!(begin.elapsed() >= IDLE_FROM);
    }
}
