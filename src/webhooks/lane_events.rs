use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::event_queue::{EventQueue, QueuedSize};
use crate::message::AppEvent;

/// Maximum events that wait until Redis has accepted them, for all webhooks.
const MAX_EVENTS: usize = 50_000;

/// Maximum bytes of these events.
const MAX_BYTES: usize = 32 << 20;

/// The events that have still to be added to their lanes in Redis, in their order.
#[derive(Debug)]
pub(super) struct LaneEvents {
    queue: EventQueue<PendingLaneEvent>,
    is_denied: AtomicBool,
    reader: Notify,
    is_complete: watch::Sender<bool>,
}

/// An event for a lane.
#[derive(Debug, Clone)]
pub(super) struct PendingLaneEvent {
    pub(super) lane: usize,
    /// Any client can cause events of public channels, which therefore have only half of the room.
    pub(super) is_public: bool,
    pub(super) event: AppEvent,
}

impl LaneEvents {
    pub(super) fn new() -> Self {
        Self {
            queue: EventQueue::new(MAX_EVENTS, MAX_BYTES),
            is_denied: AtomicBool::new(false),
            reader: Notify::new(),
            is_complete: watch::Sender::new(false),
        }
    }

    /// Fails if there is no room, or Redis denies the keys.
    pub(super) fn push(&self, event: PendingLaneEvent) -> Result<(), AppEvent> {
        let divisor = if event.is_public { 2 } else { 1 };
        if !self.is_denied() && self.queue.push_below(event.clone(), divisor) {
            return Ok(());
        }
        Err(event.event)
    }

    pub(super) async fn first(&self, max_events: usize, max_bytes: usize) -> Vec<PendingLaneEvent> {
        self.queue.first(max_events, max_bytes).await
    }

    pub(super) fn remove(&self, count: usize) {
        self.queue.remove(count);
    }

    /// Nothing is added to Redis any more.
    pub(super) fn complete(&self) {
        self.is_complete.send_replace(true);
    }

    pub(super) async fn completed(&self) {
        // The sender is here.
        let _ = self.is_complete.subscribe().wait_for(|is_complete| *is_complete).await;
    }

    /// Waits until Redis has accepted all events.
    pub(super) async fn emptied(&self) {
        self.queue.emptied().await;
    }

    /// The same until `end` at the latest. Returns how many are left.
    pub(super) async fn flush(&self, end: Instant) -> usize {
        let _ = timeout_at(end, self.emptied()).await;
        self.queue.len()
    }

    pub(super) fn take_all(&self) -> Vec<PendingLaneEvent> {
        self.queue.take_all()
    }

    /// Redis does not permit to keep events: they wait in memory.
    pub(super) fn deny(&self) {
        self.is_denied.store(true, Ordering::Release);
    }

    pub(super) fn is_denied(&self) -> bool {
        self.is_denied.load(Ordering::Acquire)
    }

    /// There is something to read or to remove.
    pub(super) fn wake_reader(&self) {
        self.reader.notify_one();
    }

    pub(super) async fn reader_woken(&self) {
        self.reader.notified().await;
    }
}

impl QueuedSize for PendingLaneEvent {
    fn bytes(&self) -> usize {
        self.event.payload.len()
    }
}
