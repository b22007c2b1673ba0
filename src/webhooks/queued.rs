use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::LaneEntryId;

/// An event in the memory of this node. Dropping it acknowledges it to the lane that it comes from: it was delivered or given up, another
/// event has made it redundant, or there was no room for it.
#[derive(Debug)]
pub(super) struct Queued<E> {
    event: E,
    _acknowledgement: Option<Acknowledgement>,
}

/// Acknowledges an event when it is dropped.
#[derive(Debug)]
pub(super) struct Acknowledgement {
    id: LaneEntryId,
    list: Arc<Acknowledgements>,
}

/// The events of a lane that are acknowledged, and not removed from it yet.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements(Mutex<AcknowledgedIds>);

#[derive(Debug, Default)]
struct AcknowledgedIds {
    ids: Vec<LaneEntryId>,
    is_closed: bool,
}

impl<E> Queued<E> {
    pub(super) const fn new(event: E, acknowledgement: Option<Acknowledgement>) -> Self {
        Self { event, _acknowledgement: acknowledgement }
    }
}

impl<E> Deref for Queued<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

impl<E> From<E> for Queued<E> {
    fn from(event: E) -> Self {
        Self::new(event, None)
    }
}

impl<E: PartialEq> PartialEq<E> for Queued<E> {
    fn eq(&self, other: &E) -> bool {
        self.event == *other
    }
}

impl Acknowledgement {
    pub(super) const fn new(id: LaneEntryId, list: Arc<Acknowledgements>) -> Self {
        Self { id, list }
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        self.list.push(self.id);
    }
}

impl Acknowledgements {
    pub(super) fn take(&self) -> Vec<LaneEntryId> {
        std::mem::take(&mut self.lock().ids)
    }

    /// They could not be passed on.
    pub(super) fn restore(&self, ids: Vec<LaneEntryId>) {
        let mut state = self.lock();
        if !state.is_closed {
            state.ids.extend(ids);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().ids.is_empty()
    }

    /// What is dropped from now on is not acknowledged.
    pub(super) fn close(&self) {
        *self.lock() = AcknowledgedIds { ids: Vec::new(), is_closed: true };
    }

    fn push(&self, id: LaneEntryId) {
        let mut state = self.lock();
        if !state.is_closed {
            state.ids.push(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, AcknowledgedIds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> LaneEntryId {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_dropped_is_acknowledged_until_the_list_is_closed() {
        let list = Arc::new(Acknowledgements::default());
        let queued = |text: &str| Queued::new((), Some(Acknowledgement::new(id(text), list.clone())));
        let (kept, newest) = (queued("7-1"), queued("9-0"));
        drop(queued("5-0"));
        assert_eq!(list.take(), [id("5-0")]);
        assert!(list.is_empty());
        drop(kept);
        let taken = list.take();
        list.restore(taken);
        assert_eq!(list.take(), [id("7-1")]);
        list.close();
        drop(newest);
        list.restore(vec![id("1-1")]);
        assert!(list.is_empty());
    }
}
