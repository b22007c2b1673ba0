use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::{ConnectionId, Outbox};
use crate::message::{Renewal, SocketId};

/// The streams of this node. Their clients cannot send on them: a new token comes in a request, and reaches the task of its stream here.
#[derive(Debug, Default)]
pub struct Streams {
    by_connection: Mutex<HashMap<ConnectionId, Arc<Mailbox>>>,
}

#[derive(Debug)]
struct Mailbox {
    outbox: Arc<Outbox>,
    /// Only the latest: a client that does not read its stream cannot make it hold more.
    renewal: Mutex<Option<Renewal>>,
}

/// The entry of a stream. Dropping it removes the entry.
#[derive(Debug)]
pub struct Stream {
    streams: Arc<Streams>,
    connection: ConnectionId,
    name: SocketId,
    mailbox: Arc<Mailbox>,
}

impl Streams {
    /// Lets new tokens reach this connection. `name`: under which its client knows it.
    #[must_use]
    pub fn enter(self: &Arc<Self>, connection: ConnectionId, name: SocketId, outbox: &Arc<Outbox>) -> Stream {
        let mailbox = Arc::new(Mailbox { outbox: outbox.clone(), renewal: Mutex::default() });
        self.by_connection().insert(connection, mailbox.clone());
        Stream { streams: self.clone(), connection, name, mailbox }
    }

    /// Passes a new token to the task of a stream. Returns false if there is no such stream.
    pub fn renew(&self, connection: ConnectionId, renewal: Renewal) -> bool {
        let Some(mailbox) = self.by_connection().get(&connection).cloned() else { return false };
        *mailbox.renewal() = Some(renewal);
        mailbox.outbox.wake();
        true
    }

    fn by_connection(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Mailbox>>> {
        self.by_connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    fn renewal(&self) -> MutexGuard<'_, Option<Renewal>> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    pub(super) fn name(&self) -> SocketId {
        self.name
    }

    pub(super) fn take_renewal(&self) -> Option<Renewal> {
        self.mailbox.renewal().take()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.streams.by_connection();
        streams.remove(&self.connection);
        if streams.len() < streams.capacity() / 8 {
            streams.shrink_to_fit();
        }
    }
}
