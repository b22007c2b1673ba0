//! The sessions of pages that have given a token, by their keys.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::kept_session::KeptSession;
use crate::message::{ChannelName, SocketId};
use crate::protocol::pusher::SessionKey;

/// Maximum sessions that are kept, and maximum channels of all of them. Those that would end first end earlier.
const MAX_KEPT: usize = 100_000;
const MAX_KEPT_CHANNELS: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Sessions {
    window: Duration,
    /// The node tells others that it is alive, because it has sessions that they may take over.
    gives_signs: AtomicBool,
    /// The node is about to leave.
    is_finished: AtomicBool,
    state: Mutex<SessionsState>,
}

#[derive(Debug, Default)]
struct SessionsState {
    by_key: HashMap<SessionKey, Slot>,
    /// When the kept sessions end, in [seconds](end) of the hub's clock.
    ends: BTreeSet<(u32, SessionKey)>,
    /// How many channels the kept sessions have.
    kept_channels: usize,
    /// Sessions that have moved to another node, until they leave their channels here.
    moved: HashMap<SocketId, KeptSession>,
}

/// A connection that has a session.
pub(super) trait SessionHolder: fmt::Debug + Send + Sync {
    /// Asks the client to answer, or the session goes to another connection. `None`: it is not known yet whether this
    /// one has it. The receiver fails if the connection ends.
    fn challenge(&self) -> Option<oneshot::Receiver<()>>;

    /// Ends the connection, whose client has not answered, and keeps its session.
    fn supersede(self: Arc<Self>);

    /// Ends the connection and its session, because the application has terminated the connections of its user.
    fn terminate(self: Arc<Self>);

    /// Keeps the session, because the node is shutting down.
    fn shut_down(self: Arc<Self>);

    /// Tells the client that messages may be missing, if it is subscribed to this channel.
    fn tell_gap(&self, app: &str, channel: &ChannelName);

    /// Writes the session for other nodes.
    fn write(&self);
}

#[derive(Debug)]
enum Slot {
    Connected(Weak<dyn SessionHolder>),
    Kept(Box<KeptSession>),
}

/// What a new connection finds under the key of its session.
#[derive(Debug)]
pub(super) enum Claim {
    /// Nothing: the session begins. It is the connection's now.
    New,
    /// A session that was kept. It is the connection's now.
    Kept(Box<KeptSession>),
    /// Another connection has the session.
    Connected(Arc<dyn SessionHolder>),
}

impl Sessions {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            gives_signs: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Whether sessions are kept at all.
    pub(super) const fn is_on(&self) -> bool {
        !self.window.is_zero()
    }

    pub(super) const fn window(&self) -> Duration {
        self.window
    }

    /// Whether this is the first session that other nodes may take over.
    pub(super) fn begin_signs_of_life(&self) -> bool {
        !self.gives_signs.swap(true, Ordering::Relaxed)
    }

    /// The node leaves. Returns whether it has given signs of life.
    pub(super) fn finish(&self) -> bool {
        self.is_finished.store(true, Ordering::Relaxed);
        self.gives_signs.load(Ordering::Relaxed)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }

    /// Whether pages are expected back, here or on another node.
    pub(super) fn has_kept(&self) -> bool {
        let state = self.lock();
        !state.ends.is_empty() || !state.moved.is_empty()
    }

    /// The connections that have a session.
    pub(super) fn connected(&self) -> Vec<Arc<dyn SessionHolder>> {
        let state = self.lock();
        let connected = state.by_key.values().filter_map(|slot| match slot {
            Slot::Connected(connection) => connection.upgrade(),
            Slot::Kept(_) => None,
        });
        connected.collect()
    }

    /// The keys of all sessions.
    pub(super) fn keys(&self) -> Vec<SessionKey> {
        self.lock().by_key.keys().copied().collect()
    }

    /// Returns the connection of a session. One that is kept is written with `write`, which must not block: it cannot be resumed
    /// or ended meanwhile.
    pub(super) fn rewrite(
        &self,
        key: &SessionKey,
        write: impl FnOnce(&mut KeptSession),
    ) -> Option<Arc<dyn SessionHolder>> {
        match self.lock().by_key.get_mut(key)? {
            Slot::Connected(connection) => connection.upgrade(),
            Slot::Kept(kept) => {
                write(kept);
                None
            }
        }
    }

    /// Claims a session for a new connection.
    pub(super) fn claim(&self, key: SessionKey, connection: &Arc<impl SessionHolder + 'static>) -> Claim {
        let mut state = self.lock();
        let connected = match state.by_key.get(&key) {
            Some(Slot::Connected(elder)) => elder.upgrade(),
            Some(Slot::Kept(_)) | None => None,
        };
        if let Some(elder) = connected {
            return Claim::Connected(elder);
        }
        let connection = Arc::downgrade(connection);
        let previous = state.by_key.insert(key, Slot::Connected(connection));
        let Some(Slot::Kept(kept)) = previous else { return Claim::New };
        state.ends.remove(&(end(kept.until), key));
        state.kept_channels -= kept.channels.len();
        Claim::Kept(kept)
    }

    /// Keeps the session of a connection until this time, in milliseconds of the hub's clock. Returns the sessions that end instead, if
    /// there are too many or another connection has this one by now.
    pub(super) fn keep(
        &self,
        key: SessionKey,
        connection: &Arc<impl SessionHolder + 'static>,
        mut session: KeptSession,
        until: u64,
    ) -> Vec<KeptSession> {
        let mut state = self.lock();
        if !state.is_of(&key, connection) {
            return vec![session];
        }
        session.until = until;
        state.ends.insert((end(until), key));
        state.kept_channels += session.channels.len();
        state.by_key.insert(key, Slot::Kept(Box::new(session)));
        let mut ended = Vec::new();
        while (state.ends.len() > MAX_KEPT || state.kept_channels > MAX_KEPT_CHANNELS)
            && let Some((_, first)) = state.ends.pop_first()
        {
            ended.extend(state.take_kept(&first));
        }
        ended
    }

    /// The session of a connection ends, unless another one has it by now.
    pub(super) fn forget(&self, key: SessionKey, connection: &Arc<impl SessionHolder + 'static>) {
        let mut state = self.lock();
        if state.is_of(&key, connection) {
            state.by_key.remove(&key);
            state.shrink();
        }
    }

    /// Ends a session. Returns its connection, or what was kept.
    pub(super) fn take(&self, key: &SessionKey) -> (Option<Arc<dyn SessionHolder>>, Option<KeptSession>) {
        let mut state = self.lock();
        let connection = match state.by_key.get(key) {
            Some(Slot::Connected(connection)) => connection.upgrade(),
            Some(Slot::Kept(kept)) => {
                let end = (end(kept.until), *key);
                state.ends.remove(&end);
                return (None, state.take_kept(key));
            }
            None => None,
        };
        (connection, None)
    }

    /// Keeps what a session has joined here until this time, because it has moved to another node.
    pub(super) fn keep_moved(&self, mut session: KeptSession, until: u64) -> Option<KeptSession> {
        session.until = until;
        self.lock().moved.insert(session.socket_id, session)
    }

    /// A session that has moved away is back.
    pub(super) fn take_moved(&self, name: SocketId) -> Option<KeptSession> {
        self.lock().moved.remove(&name)
    }

    /// Takes out the sessions that moved away long enough ago.
    pub(super) fn expire_moved(&self, now: u64) -> Vec<KeptSession> {
        let mut state = self.lock();
        let ended = state.moved.extract_if(|_, session| session.until <= now);
        let ended: Vec<KeptSession> = ended.map(|(_, session)| session).collect();
        if !ended.is_empty() {
            state.moved.shrink_to_fit();
        }
        ended
    }

    /// Ends at most `most` of the sessions that have been kept for long enough.
    pub(super) fn expire(&self, now: u64, most: usize) -> Vec<KeptSession> {
        let mut state = self.lock();
        let mut ended = Vec::new();
        while ended.len() < most
            && let Some((end, key)) = state.ends.first().copied()
            && u64::from(end) * 1000 <= now
        {
            state.ends.pop_first();
            ended.extend(state.take_kept(&key));
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, SessionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionsState {
    fn is_of(&self, key: &SessionKey, connection: &Arc<impl SessionHolder + 'static>) -> bool {
        let of = |weak: &Weak<dyn SessionHolder>| std::ptr::addr_eq(weak.as_ptr(), Arc::as_ptr(connection));
        matches!(self.by_key.get(key), Some(Slot::Connected(other)) if of(other))
    }

    fn take_kept(&mut self, key: &SessionKey) -> Option<KeptSession> {
        let slot = self.by_key.remove(key);
        self.shrink();
        let Some(Slot::Kept(kept)) = slot else { return None };
        self.kept_channels -= kept.channels.len();
        Some(*kept)
    }

    fn shrink(&mut self) {
        if self.by_key.len() < self.by_key.capacity() / 8 {
            self.by_key.shrink_to_fit();
        }
    }
}

/// The second in which a session has ended. There are many of these: the smaller they are, the better.
fn end(until: u64) -> u32 {
    u32::try_from(until.div_ceil(1000)).unwrap_or(u32::MAX)
}
