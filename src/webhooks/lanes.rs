use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::lane_emptier::LaneEmptier;
use super::lane_events::LaneEvents;
use super::lane_filler::{fill_lanes, keep_in_memory, move_to_memory};
use super::webhook::Webhook;
use crate::broker::{LaneReader, LaneWriter};

/// How long Redis may take to accept the last events.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it may take at the end of the shutdown.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The tasks between the webhooks of this node and their lanes in Redis.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What is added first.
    before: Option<Arc<LaneEvents>>,
    events: Arc<LaneEvents>,
    webhooks: Vec<Arc<Webhook>>,
    read: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    filler: Mutex<JoinSet<()>>,
    emptier: Mutex<JoinSet<()>>,
}

impl Lanes {
    /// Starts the tasks. `webhooks` are in the order of their lanes. What `before` has queued is added first.
    pub(super) fn start(
        events: Arc<LaneEvents>,
        (writer, reader): (LaneWriter, LaneReader),
        webhooks: &[Arc<Webhook>],
        before: Option<&Self>,
    ) -> Self {
        let (read_sender, read) = watch::channel(0);
        let stop = watch::Sender::new(false);
        let (mut filler, mut emptier) = (JoinSet::new(), JoinSet::new());
        let before = before.map(|before| before.events.clone());
        filler.spawn(fill_lanes(before.clone(), events.clone(), writer, webhooks.to_vec()));
        emptier
            .spawn(LaneEmptier::new(events.clone(), reader, webhooks, read_sender, stop.subscribe()).run());
        Self {
            before,
            events,
            webhooks: webhooks.to_vec(),
            read,
            stop,
            filler: Mutex::new(filler),
            emptier: Mutex::new(emptier),
        }
    }

    /// Waits until Redis has accepted what this node has queued, and everything that came before it, however long Redis is away.
    pub(super) async fn emptied(&self) {
        if let Some(before) = &self.before {
            before.completed().await;
        }
        self.events.emptied().await;
    }

    /// Waits until Redis has accepted what this node has queued, for a short time. What it does not accept is delivered from memory. If no other node is
    /// left, waits until everything was read.
    pub(super) async fn flush(&self, is_last: bool, end: Instant) {
        let flushed_by = end.min(Instant::now() + FLUSH_TIMEOUT);
        let _ = timeout_at(flushed_by, self.emptied()).await;
        if self.events.flush(flushed_by).await > 0 {
            tracing::warn!("Redis does not accept webhook events: they are sent from memory");
            take(&self.filler).shutdown().await;
            keep_in_memory(&self.events, self.webhooks.iter());
            move_to_memory(&self.events, &self.webhooks);
        } else if is_last {
            let mut read = self.read.clone();
            let current = *read.borrow();
            self.events.wake_reader();
            // The next read may have begun before.
            let _ = timeout_at(end, read.wait_for(|count| *count >= current + 2)).await;
        }
        self.events.complete();
    }

    /// Gives the lanes up. Returns how many events Redis has not accepted.
    pub(super) async fn release(&self) -> usize {
        self.stop.send_replace(true);
        let mut emptier = take(&self.emptier);
        let _ = timeout(RELEASE_TIMEOUT, emptier.join_next()).await;
        // It may have added events again.
        let left = self.events.flush(Instant::now() + RELEASE_TIMEOUT).await;
        take(&self.filler).abort_all();
        left
    }
}

fn take(tasks: &Mutex<JoinSet<()>>) -> JoinSet<()> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}
