use bytes::Bytes;

use super::event::{WebhookEvent, webhook_body};
use super::pending_events::{Dropped, PendingEvents};
use super::queue::WebhookQueue;
use super::queued::{Acknowledgement, Queued};
use crate::protocol::pusher::WebhookSettings;
use crate::trace_context::TraceContext;
use crate::unix_time::unix_milliseconds;

/// Maximum events that wait for one webhook of an app.
pub(super) const CAPACITY: usize = 10_000;

/// The events of an app for one of its webhooks.
#[derive(Debug)]
pub(super) struct AppEvents {
    queue: WebhookQueue,
    sending: Vec<Queued<WebhookEvent>>,
}

impl AppEvents {
    pub(super) fn new(settings: &WebhookSettings) -> Self {
        Self { queue: WebhookQueue::new(settings, CAPACITY), sending: Vec::new() }
    }
}

impl PendingEvents for AppEvents {
    fn push(
        &mut self,
        event: &Bytes,
        time: u64,
        acknowledgement: Option<Acknowledgement>,
    ) -> Result<(), Dropped> {
        // Of a version of the server that this one does not know.
        let event = WebhookEvent::decode(event).ok_or(Dropped { events: 1, last: None })?;
        self.queue.push(Queued::new(event, acknowledgement), time)
    }

    fn request(&mut self, now: u64) -> Option<Bytes> {
        if self.sending.is_empty() {
            self.sending = self.queue.take(now);
        }
        (!self.sending.is_empty())
            .then(|| webhook_body(unix_milliseconds(), self.sending.iter().map(|event| &**event)).into())
    }

    fn traces(&self) -> Vec<TraceContext> {
        self.sending.iter().filter_map(|event| event.trace()).collect()
    }

    fn finish_request(&mut self) -> usize {
        let count = self.sending.len();
        self.sending.clear();
        count
    }

    fn next_ready(&self) -> Option<u64> {
        self.queue.next_ready()
    }

    fn len(&self) -> usize {
        self.sending.len() + self.queue.len()
    }

    fn room(&self) -> usize {
        // The queue has rules of its own for what loses if it is full.
        1_000
    }

    fn close(&mut self) {
        self.queue.close();
    }

    fn drain(&mut self) -> Vec<Bytes> {
        let sending = std::mem::take(&mut self.sending);
        sending.into_iter().chain(self.queue.drain()).map(|event| event.encode()).collect()
    }
}
