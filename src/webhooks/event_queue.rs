use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::message::AppEvent;

/// Events in their order that Redis has still to accept. An event stays in the queue until it is accepted. Cloning an event shares it.
#[derive(Debug)]
pub struct EventQueue<E = AppEvent> {
    max_events: usize,
    max_bytes: usize,
    state: Mutex<EventQueueState<E>>,
    pushed: Notify,
    emptied: Notify,
}

/// An event in an [`EventQueue`].
pub trait QueuedSize: Clone {
    /// Its size in bytes.
    fn bytes(&self) -> usize;
}

#[derive(Debug)]
struct EventQueueState<E> {
    events: VecDeque<E>,
    bytes: usize,
}

impl<E: QueuedSize> EventQueue<E> {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        let state = Mutex::new(EventQueueState { events: VecDeque::new(), bytes: 0 });
        Self { max_events, max_bytes, state, pushed: Notify::new(), emptied: Notify::new() }
    }

    /// Returns false if there is no room: the event is lost.
    pub(super) fn push(&self, event: E) -> bool {
        self.push_below(event, 1)
    }

    /// The same for an event that may use only this fraction of the room: 2 for a half.
    pub(super) fn push_below(&self, event: E, divisor: usize) -> bool {
        let mut state = self.state();
        let bytes = state.bytes + event.bytes();
        if state.events.len() >= self.max_events / divisor || bytes > self.max_bytes / divisor {
            return false;
        }
        state.bytes = bytes;
        state.events.push_back(event);
        drop(state);
        self.pushed.notify_one();
        true
    }

    /// Waits for events. Returns the first ones: at most `max_events`, and of `max_bytes` together, but at least one.
    pub async fn first(&self, max_events: usize, max_bytes: usize) -> Vec<E> {
        loop {
            let pushed = self.pushed.notified();
            let events = self.peek(max_events, max_bytes);
            if !events.is_empty() {
                return events;
            }
            pushed.await;
        }
    }

    fn peek(&self, max_events: usize, max_bytes: usize) -> Vec<E> {
        let state = self.state();
        let mut bytes = 0;
        let fits = |event: &&E| {
            let is_first = bytes == 0;
            bytes += event.bytes();
            is_first || bytes <= max_bytes
        };
        state.events.iter().take(max_events).take_while(fits).cloned().collect()
    }

    /// The first events are accepted, or given up.
    pub fn remove(&self, count: usize) {
        let mut state = self.state();
        let count = count.min(state.events.len());
        let bytes: usize = state.events.drain(..count).map(|event| event.bytes()).sum();
        state.bytes -= bytes;
        if state.events.is_empty() {
            *state = EventQueueState { events: VecDeque::new(), bytes: 0 };
            drop(state);
            self.emptied.notify_waiters();
        }
    }

    /// Removes all events.
    pub(super) fn take_all(&self) -> Vec<E> {
        let events = self.peek(usize::MAX, usize::MAX);
        self.remove(events.len());
        events
    }

    /// Waits until the queue is empty.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state().events.len()
    }

    fn state(&self) -> MutexGuard<'_, EventQueueState<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueuedSize for AppEvent {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    fn event(payload: &'static str) -> AppEvent {
        AppEvent { name: "message", channel: ChannelName::new("a").unwrap(), payload: payload.into() }
    }

    #[tokio::test]
    async fn events_stay_until_they_are_accepted_and_the_queue_is_bounded() {
        let queue = EventQueue::new(3, 10);
        assert_eq!(
            [queue.push(event("1234")), queue.push(event("5")), queue.push(event("678901"))],
            [true, true, false]
        );
        assert!(!queue.push_below(event("6"), 2), "the other half is for others");
        assert!(queue.push(event("67890")));
        assert!(!queue.push(event("")), "three events are the most");
        assert_eq!(queue.first(2, 100).await, [event("1234"), event("5")]);
        assert_eq!(queue.first(9, 1).await, [event("1234")]);
        queue.remove(1);
        assert_eq!(queue.first(9, 100).await, [event("5"), event("67890")]);
        assert!(queue.push(event("1234")));
        queue.remove(9);
        queue.emptied().await;
        assert_eq!(queue.len(), 0);
    }
}
