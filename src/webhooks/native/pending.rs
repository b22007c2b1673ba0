use std::collections::VecDeque;

use bytes::Bytes;

use super::event::trace_of;
use crate::trace_context::TraceContext;
use crate::webhooks::pending_events::{Dropped, PendingEvents};
use crate::webhooks::queued::{Acknowledgement, Queued};

/// Maximum events in one request.
const MAX_BATCH: usize = 100;

/// Maximum bytes of the events in one request, or one event that is larger.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Maximum events that are read ahead from a lane.
const MAX_READ: usize = 1_000;

/// The events of native channels for one webhook, in their order.
#[derive(Debug)]
pub(in crate::webhooks) struct PendingNativeEvents {
    max_events: usize,
    max_bytes: usize,
    events: VecDeque<Queued<Bytes>>,
    bytes: usize,
    /// How many of the first events are in the current request.
    sending: usize,
}

impl PendingNativeEvents {
    pub(super) const fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { max_events, max_bytes, events: VecDeque::new(), bytes: 0, sending: 0 }
    }

    /// How many events the next request has.
    fn batch(&self) -> usize {
        let mut bytes = 0;
        let fits = |event: &&Queued<Bytes>| {
            let is_first = bytes == 0;
            bytes += event.len();
            is_first || bytes <= MAX_REQUEST_BYTES
        };
        self.events.iter().take(MAX_BATCH).take_while(fits).count()
    }
}

impl PendingEvents for PendingNativeEvents {
    fn push(
        &mut self,
        event: &Bytes,
        _time: u64,
        acknowledgement: Option<Acknowledgement>,
    ) -> Result<(), Dropped> {
        let bytes = self.bytes + event.len();
        if self.events.len() >= self.max_events || (bytes > self.max_bytes && !self.events.is_empty()) {
            return Err(Dropped { events: 1, last: None });
        }
        self.bytes = bytes;
        self.events.push_back(Queued::new(event.clone(), acknowledgement));
        Ok(())
    }

    fn request(&mut self, _now: u64) -> Option<Bytes> {
        if self.sending == 0 {
            self.sending = self.batch();
        }
        (self.sending > 0).then(|| encode(self.events.iter().take(self.sending)))
    }

    fn traces(&self) -> Vec<TraceContext> {
        self.events.iter().take(self.sending).filter_map(|event| trace_of(event)).collect()
    }

    fn finish_request(&mut self) -> usize {
        let count = std::mem::take(&mut self.sending).min(self.events.len());
        let bytes: usize = self.events.drain(..count).map(|event| event.len()).sum();
        self.bytes -= bytes;
        if self.events.is_empty() {
            // Otherwise it would keep the memory of a burst.
            self.events = VecDeque::new();
        }
        count
    }

    fn next_ready(&self) -> Option<u64> {
        None
    }

    fn len(&self) -> usize {
        self.events.len()
    }

    fn room(&self) -> usize {
        MAX_READ.saturating_sub(self.events.len())
    }

    fn close(&mut self) {}

    fn drain(&mut self) -> Vec<Bytes> {
        (self.bytes, self.sending) = (0, 0);
        std::mem::take(&mut self.events).into_iter().map(|event| Bytes::clone(&event)).collect()
    }
}

fn encode<'a>(events: impl Iterator<Item = &'a Queued<Bytes>>) -> Bytes {
    let mut body = br#"{"events":["#.to_vec();
    for (index, event) in events.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_request_stay_until_it_is_finished() {
        let mut pending = PendingNativeEvents::new(3, 100);
        let push = |pending: &mut PendingNativeEvents, event: &'static str| {
            pending.push(&Bytes::from_static(event.as_bytes()), 0, None).is_ok()
        };
        assert_eq!(pending.request(0), None);
        assert!(push(&mut pending, "1") && push(&mut pending, "2"));
        assert_eq!(pending.request(0).unwrap(), r#"{"events":[1,2]}"#);
        assert!(push(&mut pending, "3") && !push(&mut pending, "4"));
        assert_eq!(pending.request(0).unwrap(), r#"{"events":[1,2]}"#);
        assert_eq!((pending.finish_request(), pending.finish_request()), (2, 0));
        assert_eq!(pending.request(0).unwrap(), r#"{"events":[3]}"#);
        assert_eq!(pending.drain(), ["3"]);
        assert_eq!(pending.request(0), None);
        assert!(push(&mut pending, "5"));
        assert!(pending.push(&Bytes::from(vec![b'1'; 100]), 0, None).is_err());
    }
}
