//! The tails that other nodes follow on this one. A node asks once a second for what has happened since, so that nothing is sent that
//! nobody reads; a tail for which nobody asks any more is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::telemetry::{TailReader, Tailed};

/// The most tails at a time: those of this node's own readers, and those of other nodes.
pub(super) const MAX_TAILS: usize = 16;

/// A tail is closed when nobody has asked for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

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
    pub(super) fn since_last(&self, name: &str, open: impl FnOnce() -> TailReader) -> Option<Vec<Tailed>> {
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
