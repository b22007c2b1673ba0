//! The tails that other nodes follow on this one. A node asks once a second for what has happened since, so that nothing is sent that
//! nobody reads; a tail for which nobody asks any more is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::ApiState;
use super::listing::Part;
use super::tail_line::{TailFilter, TailLine};
use crate::message::NodeName;
use crate::telemetry::{TailEvent, TailKind, TailReader, Tailed};

/// The most tails at a time: those of this node's own readers, and those of other nodes.
pub(super) const MAX_TAILS: usize = 16;

/// A tail is closed when nobody has asked for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// How much a node tells at a time, in bytes. The rest waits, as far as it fits.
const ANSWER_BYTES: usize = 40 * 1024;

/// The tails of a node.
#[derive(Debug, Clone)]
pub struct Tails {
    places: Arc<Semaphore>,
    /// Those that other nodes follow, by their names.
    followed: Arc<Mutex<HashMap<String, Followed>>>,
}

#[derive(Debug)]
struct Followed {
    reader: TailReader,
    asked_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Default for Tails {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_TAILS)), followed: Arc::default() }
    }
}

impl Tails {
    /// A place for a tail, if one is free.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// What has happened since the last question. The first one opens the tail. `None`: there are too many.
    fn since_last(&self, name: &str, open: impl FnOnce() -> TailReader) -> Option<Vec<Tailed>> {
        let mut followed = self.followed();
        if !followed.contains_key(name) {
            let place = self.place()?;
            if followed.is_empty() {
                tokio::spawn(forget(Arc::downgrade(&self.followed)));
            }
            let tail = Followed { reader: open(), asked_at: Instant::now(), _place: place };
            followed.insert(name.to_owned(), tail);
        }
        let tail = followed.get_mut(name)?;
        tail.asked_at = Instant::now();
        Some(std::iter::from_fn(|| tail.reader.try_next()).collect())
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the tails for which nobody asks, until there are none.
async fn forget(followed: Weak<Mutex<HashMap<String, Followed>>>) {
    loop {
        sleep(FORGOTTEN_AFTER / 2).await;
        let Some(followed) = followed.upgrade() else { return };
        let mut followed = followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, tail| tail.asked_at.elapsed() < FORGOTTEN_AFTER);
        if followed.is_empty() {
            return;
        }
    }
}

impl ApiState {
    /// What has happened on this node, for another one. Its own tail has no part in it: `by` reads that itself.
    pub(super) async fn own_tail(
        &self,
        by: &NodeName,
        name: &str,
        filter: &TailFilter,
    ) -> Option<Part<TailLine>> {
        let node = self.channels.node();
        if by == node {
            return Some(Part::new(None, None));
        }
        let events = self.tails.since_last(name, || self.context.metrics.tail.open())?;
        let (mut lines, mut bytes, mut skipped) = (Vec::new(), 0, 0);
        for event in events {
            match event {
                Tailed::Skipped(count) => skipped += count,
                Tailed::Event(event) if filter.wants(event.kind) => {
                    let line = self.tail_line(&event, false).await;
                    if !filter.matches(&line) {
                        continue;
                    }
                    bytes += serde_json::to_vec(&line).map_or(0, |json| json.len());
                    if bytes > ANSWER_BYTES {
                        skipped += 1;
                    } else {
                        lines.push(line);
                    }
                }
                Tailed::Event(_) => {}
            }
        }
        if skipped > 0 {
            lines.push(TailLine::skipped(node, skipped));
        }
        // The keys keep their order, and no two nodes have the same.
        let keys = (0..).map(|index: u32| format!("{node}{index:08x}"));
        Some(Part::new(keys.zip(lines), None))
    }

    /// The line of an event of this node. A refused message does not say whose it was: its connection does.
    pub(super) async fn tail_line(&self, event: &TailEvent, with_data: bool) -> TailLine {
        let name = event.connection.map(|connection| self.channels.socket_id(connection).to_string());
        let mut line = TailLine::new(event, self.channels.node(), name, with_data);
        if let (TailKind::Refused, None, Some(id)) = (event.kind, &event.user, event.connection)
            && let Some(outbox) = self.hub.outbox(id).await
            && let Some(info) = self.context.inquiries.ask(&[(id, outbox)]).await.remove(&id)
        {
            line.user = info.user.map(|user| user.to_text().into_owned());
            line.app = info.app;
            // A connection of an app may be on several.
            line.channel = info
                .channels
                .first()
                .filter(|_| info.channels.len() == 1)
                .map(|name| name.unscoped().to_owned());
        }
        line
    }
}
