use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::message::Dispatch;

/// Memory of a dispatch beside its payload: the structures around it and the allocator's rounding, in bytes.
const OVERHEAD: usize = 256;

/// How many bytes of a budget a dispatch takes.
pub(super) fn cost(dispatch: &Dispatch) -> usize {
    let texts = match dispatch {
        Dispatch::Event(event) => event.data.len() + event.channel.as_str().len() + event.sender.name.len(),
        Dispatch::Signal(body) => body.len(),
        Dispatch::Topic { topic, payload } => topic.len() + payload.len(),
    };
    texts + OVERHEAD
}

/// Bounds the bytes that wait for fan-out on this node.
///
/// A dispatch larger than the whole budget takes all of it, so that it can pass alone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Takes the dispatch's share, if there is room.
    pub(super) fn try_take(&self, dispatch: &Dispatch) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.share(dispatch)).ok()
    }

    /// Takes the dispatch's share as soon as there is room.
    pub(super) async fn take(&self, dispatch: &Dispatch) -> Option<OwnedSemaphorePermit> {
        // Fails only on a closed semaphore, and this one is never closed.
        Arc::clone(&self.permits).acquire_many_owned(self.share(dispatch)).await.ok()
    }

    /// How many bytes are taken.
    pub(super) fn taken(&self) -> usize {
        (self.total as usize).saturating_sub(self.permits.available_permits())
    }

    fn share(&self, dispatch: &Dispatch) -> u32 {
        u32::try_from(cost(dispatch)).unwrap_or(u32::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ChannelName, Event, Sender};
    use bytes::Bytes;

    fn event(bytes: usize) -> Dispatch {
        let data = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
        let sender = Sender { name: "a".into(), id: 1.into() };
        Event::new(ChannelName::new("chat:").unwrap(), sender, data).into()
    }

    #[test]
    fn a_share_returns_to_the_budget_when_dropped() {
        let budget = Budget::new(1000);
        let permit = budget.try_take(&event(500)).unwrap();
        assert!(budget.try_take(&event(500)).is_none());
        drop(permit);
        assert!(budget.try_take(&event(500)).is_some());
    }

    #[test]
    fn an_event_larger_than_the_budget_passes_alone() {
        for bytes in [0, 10] {
            let budget = Budget::new(bytes);
            let permit = budget.try_take(&event(5000)).unwrap();
            assert!(budget.try_take(&event(0)).is_none());
            drop(permit);
            assert!(budget.try_take(&event(0)).is_some());
        }
    }
}
