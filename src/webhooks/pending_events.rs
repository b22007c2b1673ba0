use std::fmt::Debug;

use bytes::Bytes;

use super::queued::Acknowledgement;
use crate::message::ChannelName;
use crate::trace_context::TraceContext;

/// The events that one webhook has still to receive, in the memory of this node.
///
/// Those of a request stay until it is accepted or given up: then [`finish_request`](Self::finish_request) removes them.
pub(super) trait PendingEvents: Send + Debug {
    /// Adds an event, encoded, that happened at `time`, in milliseconds. Fails if there was no room, for this event or for others that it
    /// displaced.
    fn push(
        &mut self,
        event: &Bytes,
        time: u64,
        acknowledgement: Option<Acknowledgement>,
    ) -> Result<(), Dropped>;

    /// The body of the next request, or of the same as before if that is not finished.
    fn request(&mut self, now: u64) -> Option<Bytes>;

    /// The traces of the events of the request.
    fn traces(&self) -> Vec<TraceContext>;

    /// Removes the events of the request. Returns how many there were.
    fn finish_request(&mut self) -> usize;

    /// When to ask for a [`request`](Self::request) again, in milliseconds, although no event has been added.
    fn next_ready(&self) -> Option<u64>;

    /// How many events wait, those of the request included.
    fn len(&self) -> usize;

    /// How many more events may be read from the lane.
    fn room(&self) -> usize;

    /// The node shuts down, and nothing comes after it.
    fn close(&mut self);

    /// Removes all events, and returns them encoded.
    fn drain(&mut self) -> Vec<Bytes>;
}

/// Events were dropped: the queue was full, because the application does not accept them fast enough. Or one was not readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    /// How many.
    pub(super) events: u64,
    /// The kind and the channel of the last one, if they are known.
    pub(super) last: Option<(&'static str, ChannelName)>,
}
