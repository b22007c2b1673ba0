//! What happens on this node, for operators who watch. Metrics count it, and the log has only some of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::unix_time::unix_time;

/// How many events wait for a reader at most. A reader that is slower is told how many it has missed.
const CAPACITY: usize = 1024;

/// How much of the data of a message an event has, in bytes.
const DATA_BYTES: usize = 1024;

/// Carries events to their readers while there are any. Otherwise an event costs the read of a flag.
#[derive(Debug, Default)]
pub struct Tail {
    is_watched: AtomicBool,
    events: Mutex<Option<broadcast::Sender<Arc<TailEvent>>>>,
}

/// Something that has happened. What does not apply is empty.
#[derive(Debug, Clone, Default)]
pub struct TailEvent {
    pub kind: TailKind,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// `native` or `pusher`.
    pub protocol: &'static str,
    /// The ID of the app.
    pub app: Option<Arc<str>>,
    /// Without its app.
    pub channel: Option<Box<str>>,
    /// The ID of the user as text.
    pub user: Option<Box<str>>,
    /// The number of the connection on this node.
    pub connection: Option<u64>,
    pub address: Option<IpAddr>,
    /// Why it has happened.
    pub reason: Option<Cow<'static, str>>,
    /// The close code.
    pub code: Option<u16>,
    /// The name of the event of an app.
    pub event: Option<Box<str>>,
    /// The data of a message: its length in bytes, and its beginning.
    pub data: Option<(usize, Bytes)>,
}

/// What has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TailKind {
    #[default]
    Connected,
    Disconnected,
    /// A connection of an app has joined a channel. Native connections join theirs when they are connected.
    Subscribed,
    Unsubscribed,
    /// A message was published on a channel.
    Published,
    /// A handshake, or a message of a client.
    Refused,
    /// A connection is over its rate: its messages wait.
    Throttled,
    /// A message.
    Dropped,
}

/// Reads the events of a [`Tail`] from the moment when it was opened.
#[derive(Debug)]
pub struct TailReader {
    events: broadcast::Receiver<Arc<TailEvent>>,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Tailed {
    Event(Arc<TailEvent>),
    /// This many events were skipped: the reader is too slow.
    Skipped(u64),
}

impl Tail {
    /// Tells the readers. The event is only made if there are any.
    pub fn tell(&self, event: impl FnOnce() -> TailEvent) {
        if self.is_watched.load(Ordering::Relaxed) {
            self.tell_watched(event);
        }
    }

    /// Reads what happens from now on.
    #[must_use]
    pub fn open(&self) -> TailReader {
        let mut events = self.events();
        self.is_watched.store(true, Ordering::Relaxed);
        TailReader { events: events.get_or_insert_with(|| broadcast::channel(CAPACITY).0).subscribe() }
    }

    #[cold]
    fn tell_watched(&self, event: impl FnOnce() -> TailEvent) {
        let mut events = self.events();
        let Some(readers) = events.as_ref().filter(|sender| sender.receiver_count() > 0) else {
            // The last one has left.
            *events = None;
            self.is_watched.store(false, Ordering::Relaxed);
            return;
        };
        let at = u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX);
        // A reader that has left since does not matter.
        let _ = readers.send(Arc::new(TailEvent { at, ..event() }));
    }

    fn events(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<TailEvent>>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TailEvent {
    /// The data of a message.
    #[must_use]
    pub fn with_data(self, data: &[u8]) -> Self {
        let start = data.get(..DATA_BYTES).unwrap_or(data);
        Self { data: Some((data.len(), Bytes::copy_from_slice(start))), ..self }
    }
}

impl TailReader {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Tailed {
        match self.events.recv().await {
            Ok(event) => Tailed::Event(event),
            Err(RecvError::Lagged(count)) => Tailed::Skipped(count),
            // There is a sender as long as there is a reader.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Tailed> {
        match self.events.try_recv() {
            Ok(event) => Some(Tailed::Event(event)),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Tailed::Skipped(count)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: usize) -> TailEvent {
        TailEvent { user: Some(user.to_string().into()), ..TailEvent::default() }
    }

    fn user(tailed: Option<Tailed>) -> Option<String> {
        match tailed? {
            Tailed::Event(event) => event.user.as_deref().map(str::to_owned),
            Tailed::Skipped(count) => Some(format!("{count} skipped")),
        }
    }

    #[test]
    fn no_event_is_made_unless_somebody_reads() {
        let tail = Tail::default();
        let unread = || panic!("nobody reads");
        tail.tell(unread);
        let [mut first, mut second] = [tail.open(), tail.open()];
        tail.tell(|| event(7));
        for reader in [&mut first, &mut second] {
            assert_eq!(user(reader.try_next()).as_deref(), Some("7"));
            assert!(reader.try_next().is_none());
        }
        drop(first);
        tail.tell(|| event(8));
        assert_eq!(user(second.try_next()).as_deref(), Some("8"));
        drop(second);
        tail.tell(unread);
        assert!(!tail.is_watched.load(Ordering::Relaxed) && tail.events().is_none());
        // And again.
        let mut reader = tail.open();
        tail.tell(|| event(9));
        assert_eq!(user(reader.try_next()).as_deref(), Some("9"));
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_how_much_it_has_missed() {
        let tail = Tail::default();
        let mut reader = tail.open();
        for number in 0..CAPACITY + 5 {
            tail.tell(|| event(number));
        }
        assert_eq!(user(reader.try_next()).as_deref(), Some("5 skipped"));
        for number in 5..CAPACITY + 5 {
            assert_eq!(user(reader.try_next()), Some(number.to_string()));
        }
        assert!(reader.try_next().is_none());
    }

    #[test]
    fn an_event_has_the_beginning_of_the_data_only() {
        let (bytes, data) = TailEvent::default().with_data(&[b'x'; 5000]).data.unwrap();
        assert_eq!((bytes, data.len()), (5000, DATA_BYTES));
        assert_eq!(TailEvent::default().with_data(b"{}").data.unwrap(), (2, Bytes::from_static(b"{}")));
    }
}
