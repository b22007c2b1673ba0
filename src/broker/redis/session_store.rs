use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::session_backlog::QUEUE;
use super::session_command::{
    CLAIMED_AT, SessionChange, SessionClaim, SessionCommand, SessionFields, SessionSign,
};
use super::session_losses::SessionLosses;
use super::session_writer::SessionWriter;
use super::url::RedisUrl;
use crate::broker::StoreError;

/// How long Redis may take to find or claim a session. A page waits for it.
const FIND_WITHIN: Duration = Duration::from_secs(1);

/// The sessions of pages in Redis, where another node finds them. Writing never waits, except for a claim.
///
/// Whoever writes says when it has claimed the session, in milliseconds of Unix time. What another node has claimed later stays as it is:
/// what could not be written during an outage is written after it, when it may be outdated.
#[derive(Debug, Clone)]
pub struct SessionStore {
    base: Arc<str>,
    commands: mpsc::Sender<SessionCommand>,
    losses: Arc<SessionLosses>,
    /// How many signs of life have been written.
    signs: Arc<AtomicU64>,
}

/// The last sign of life of a node, as one of its sessions reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    /// What the node says of the session, or of all sessions if it does not say anything of this one.
    pub text: String,
    pub age: Duration,
}

/// Single sessions by their names, with what a sign of life says of them. Of two with one name, the later one counts.
pub type SignExceptions = Vec<(String, String)>;

impl SessionStore {
    /// The field with the time at which the session was claimed. Every session has it.
    pub const CLAIMED_AT: &str = CLAIMED_AT;

    /// Needs a Tokio runtime. The connection is opened with the first command.
    pub(super) fn start(url: RedisUrl, prefix: &str, limit: Duration) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let base = format!("{prefix}yamabiko:").into();
        let losses = Arc::new(SessionLosses::default());
        tokio::spawn(SessionWriter::new(url, limit, losses.clone()).run(queue));
        Self { base, commands, losses, signs: Arc::default() }
    }

    /// Claims a session, and writes it in place of what is there. Returns whether the caller has it now: `false` if another node has
    /// claimed it later than `after`. Where Redis denies the keys, everybody has it.
    pub async fn claim(
        &self,
        session: &str,
        claimed_at: u64,
        after: u64,
        fields: SessionFields,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let (reply, claimed) = oneshot::channel();
        let (key, session) = (self.session(session), replacement(fields, ttl));
        self.send(SessionCommand::Claim(SessionClaim { key, claimed_at, after, session }, reply));
        // Without a reply, it is unknown whether it has been written.
        let claimed = timeout(FIND_WITHIN, claimed).await.map_err(|_| StoreError::Unreachable)?;
        claimed.map_err(|_| StoreError::Unreachable)
    }

    /// Writes a session, in place of what is there.
    pub fn write(&self, session: &str, claimed_at: u64, fields: SessionFields, ttl: Duration) {
        self.change(session, claimed_at, replacement(fields, ttl));
    }

    /// Changes fields of a session.
    pub fn set(&self, session: &str, claimed_at: u64, fields: Vec<(String, String)>, ttl: Duration) {
        let fields = fields.into_iter().map(|(field, value)| (field, Some(value))).collect();
        self.change(session, claimed_at, SessionChange::Update(fields, ttl));
    }

    /// Removes one field of a session.
    pub fn unset(&self, session: &str, claimed_at: u64, field: String, ttl: Duration) {
        self.change(session, claimed_at, SessionChange::Update(vec![(field, None)], ttl));
    }

    /// Removes a session.
    pub fn remove(&self, session: &str, claimed_at: u64) {
        self.change(session, claimed_at, SessionChange::Remove);
    }

    /// Finds a session. It stays where it is, because a reply can be lost: the node that resumes it writes its own over it. Where Redis
    /// denies the keys, there is nothing.
    pub async fn find(&self, session: &str) -> Result<Option<SessionFields>, StoreError> {
        let (reply, found) = oneshot::channel();
        self.send(SessionCommand::Find(self.session(session), reply));
        // Without a reply, it is unknown whether there is one.
        let fields = timeout(FIND_WITHIN, found).await.map_err(|_| StoreError::Unreachable)?;
        let fields = fields.map_err(|_| StoreError::Unreachable)?;
        Ok((!fields.is_empty()).then_some(fields))
    }

    /// Tells the other nodes that this one is alive, and a text for all of its sessions but the exceptions. `ttl` is how long that is
    /// remembered, and how long a session is at most.
    ///
    /// It is written as a whole, after what was written before. If something of that was dropped, or may have been lost by Redis, the
    /// texts are left out: other nodes may find a session that is older than the sign.
    pub fn write_sign_of_life(&self, node: &str, text: String, exceptions: SignExceptions, ttl: Duration) {
        let number = self.signs.fetch_add(1, Ordering::Relaxed);
        let sign = SessionSign { number, text, exceptions, ttl };
        self.send(SessionCommand::WriteSign(self.node(node), Some(sign)));
    }

    pub fn remove_sign_of_life(&self, node: &str) {
        self.send(SessionCommand::WriteSign(self.node(node), None));
    }

    /// The last sign of life of a node, which it has written with this `ttl`, for the session with this name.
    pub async fn sign_of_life(
        &self,
        node: &str,
        name: &str,
        ttl: Duration,
    ) -> Result<Option<SignOfLife>, StoreError> {
        let (reply, read) = oneshot::channel();
        self.send(SessionCommand::ReadSign(self.node(node), name.to_owned(), reply));
        let sign = timeout(FIND_WITHIN, read).await.map_err(|_| StoreError::Unreachable)?;
        let sign = sign.map_err(|_| StoreError::Unreachable)?;
        let age = |left| ttl.saturating_sub(Duration::from_millis(left));
        Ok(sign.map(|(text, left)| SignOfLife { text, age: age(left) }))
    }

    /// Waits until Redis has lost a sign of life that it had written, and with it perhaps sessions: it has restarted without all of its
    /// data, or a replica has taken over that was behind. It may have happened since the last call.
    pub async fn lost(&self) {
        self.losses.lost().await;
    }

    /// All sessions of this node have been [written](Self::write) since this time.
    pub fn make_good(&self, since: Instant) {
        self.losses.make_good(since);
    }

    /// Waits until everything that was written before is in Redis, or `limit` has passed. Returns whether it is.
    pub async fn flush(&self, limit: Duration) -> bool {
        let (reply, flushed) = oneshot::channel();
        self.send(SessionCommand::Flush(reply));
        matches!(timeout(limit, flushed).await, Ok(Ok(())))
    }

    fn change(&self, session: &str, claimed_at: u64, change: SessionChange) {
        self.send(SessionCommand::Change(self.session(session), claimed_at, change));
    }

    fn send(&self, command: SessionCommand) {
        if self.commands.try_send(command).is_err() {
            self.losses.add_dropped();
            tracing::debug!("too many sessions wait to be written to Redis: one is dropped");
        }
    }

    fn session(&self, session: &str) -> String {
        format!("{}session:{session}", self.base)
    }

    fn node(&self, node: &str) -> String {
        format!("{}node:{node}", self.base)
    }
}

fn replacement(fields: SessionFields, ttl: Duration) -> SessionChange {
    SessionChange::Replace(fields.into_iter().map(|(field, value)| (field, Some(value))).collect(), ttl)
}
