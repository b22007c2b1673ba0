use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::auth::{Authenticator, Revocations, RevocationsFullError};
use crate::broker::{
    Broker, PublishError, REVOCATION_COMMANDS, RevocationSnapshot, RevocationStore, StoreError,
};
use crate::hub::Hub;
use crate::message::{Revocation, RevokedTokens, Signal};
use crate::protocol::native::close;
use crate::telemetry::{Metrics, logged};
use crate::unix_time::unix_time;

/// How long after a failed attempt Redis is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long a request waits until this node has applied its revocation.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// Revokes tokens on all nodes, and keeps the revocations in Redis.
///
/// A revocation is a signal that every node applies, and an entry in Redis that every node reads when it connects. An application can
/// publish the signal itself: then each node writes what it has applied.
#[derive(Debug)]
pub struct Revoker {
    revocations: Arc<Revocations>,
    broker: Arc<Broker>,
    /// `None`: revocations end with the process.
    store: Option<RevocationStore>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    /// The longest life of a token, in seconds.
    max_token_age: u64,
    has_read: AtomicBool,
    /// What is not in Redis yet, with its end. 0: to be removed there.
    unsaved: Mutex<HashMap<RevokedTokens, u64>>,
    changed: Notify,
}

/// Why a revocation is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RevokeError {
    #[error(transparent)]
    Full(#[from] RevocationsFullError),
    /// It may be in force on some nodes.
    #[error("the revocation was not stored: {0}")]
    Store(#[from] StoreError),
    /// It is stored, and in force when the nodes read it next. Repeat it.
    #[error("the revocation was not sent to the nodes: {0}")]
    Publish(#[from] PublishError),
}

impl Revoker {
    /// Revokes what `authenticator` verifies. Needs a Tokio runtime.
    #[must_use]
    pub fn start(
        authenticator: &Authenticator,
        broker: Arc<Broker>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        max_token_age: Duration,
    ) -> Arc<Self> {
        // Without keys, there are no tokens.
        let store = broker.revocations().filter(|_| authenticator.has_keys()).cloned();
        let revoker = Arc::new(Self {
            revocations: authenticator.revocations().clone(),
            broker,
            store: store.clone(),
            hub,
            metrics,
            max_token_age: max_token_age.as_secs(),
            has_read: AtomicBool::new(store.is_none()),
            unsaved: Mutex::default(),
            changed: Notify::new(),
        });
        if let Some(store) = store {
            let keeper = Keeper { store, revoker: revoker.clone(), identity: None, is_denied: false };
            tokio::spawn(keeper.run());
        }
        revoker
    }

    /// Revokes tokens on all nodes, until a Unix second or until the last of them has expired. It is stored and sent to the nodes
    /// when this returns.
    pub async fn revoke(&self, tokens: RevokedTokens, until: Option<u64>) -> Result<Revocation, RevokeError> {
        let until = until.unwrap_or_else(|| self.default_end(&tokens));
        let revocation = Revocation::new(tokens, Some(until));
        self.store(&revocation.tokens, until).await?;
        self.publish(revocation.clone()).await?;
        Ok(revocation)
    }

    /// Takes a revocation back on all nodes. Returns false if there was none.
    pub async fn restore(&self, tokens: RevokedTokens) -> Result<bool, RevokeError> {
        let is_known = self.list().iter().any(|known| known.tokens == tokens);
        self.store(&tokens, 0).await?;
        self.publish(Revocation { tokens, until: Some(0) }).await?;
        Ok(is_known)
    }

    /// Tells all nodes, and waits until this one has applied it, so that the next request to it is answered accordingly.
    async fn publish(&self, revocation: Revocation) -> Result<(), RevokeError> {
        let signal = Signal::Revoke { revocation, is_stored: self.store.is_some() };
        self.broker.publish_and_wait(signal.into()).await?;
        // It is accepted, and will be applied also if that takes longer.
        let _ = timeout(APPLIED_WITHIN, self.broker.fence()).await;
        Ok(())
    }

    /// The revocations in force, those that end first coming first.
    #[must_use]
    pub fn list(&self) -> Vec<Revocation> {
        let mut list = self.revocations.list(unix_time().as_secs());
        list.sort_by_cached_key(|(tokens, until)| (*until, tokens.to_json()));
        list.into_iter().map(|(tokens, until)| Revocation { tokens, until: Some(until) }).collect()
    }

    /// Whether the revocations of other nodes are known here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.has_read.load(Ordering::Relaxed)
    }

    /// Applies a revocation that the broker has delivered.
    pub fn apply(&self, Revocation { tokens, until }: Revocation, is_stored: bool) {
        let until = until.unwrap_or_else(|| self.default_end(&tokens));
        if is_stored {
            // Written later, it could undo what has happened in Redis since.
            self.unsaved().remove(&tokens);
        } else if self.store.is_some() {
            self.save_later(&tokens, until);
        }
        self.put_in_force(&tokens, until);
        if until > unix_time().as_secs() {
            // Also again: the connections of one that was full, or that are older than this process knew.
            self.hub.close_revoked(tokens, &close::REVOKED);
        }
    }

    fn save_later(&self, tokens: &RevokedTokens, until: u64) {
        let mut unsaved = self.unsaved();
        if unsaved.len() < Revocation::MAX || unsaved.contains_key(tokens) {
            unsaved.insert(tokens.clone(), until);
            self.changed.notify_one();
        } else {
            self.metrics.tokens.revocations_dropped.inc();
            tracing::error!("revocation not stored: too many wait to be written to Redis");
        }
    }

    async fn store(&self, tokens: &RevokedTokens, until: u64) -> Result<(), RevokeError> {
        let is_full = if let Some(store) = &self.store {
            store.change(vec![(tokens.to_json(), until)]).await?.is_full
        } else {
            let is_known = || self.list().iter().any(|known| known.tokens == *tokens);
            until > unix_time().as_secs() && self.revocations.count() >= Revocation::MAX && !is_known()
        };
        if is_full { Err(RevocationsFullError.into()) } else { Ok(()) }
    }

    /// When the last of the tokens has expired that could have been issued.
    fn default_end(&self, tokens: &RevokedTokens) -> u64 {
        let now = unix_time().as_secs();
        let issued =
            if let RevokedTokens::IssuedBefore { before, .. } = tokens { now.max(*before) } else { now };
        issued.saturating_add(self.max_token_age).min(Revocation::MAX_TIME)
    }

    /// Returns whether it is a new one.
    fn put_in_force(&self, tokens: &RevokedTokens, until: u64) -> bool {
        let now = unix_time().as_secs();
        let (user, jti) =
            (tokens.user().map(|user| logged(user.form())), matches!(tokens, RevokedTokens::Jti(_)));
        let before =
            if let RevokedTokens::IssuedBefore { before, .. } = tokens { Some(*before) } else { None };
        let mut is_new = false;
        if until <= now {
            if self.revocations.remove(tokens) {
                tracing::info!(user, jti, before, "revocation removed");
            }
        } else {
            match self.revocations.add(tokens, until, now) {
                Ok(added) => is_new = added,
                Err(error) => {
                    self.metrics.tokens.revocations_dropped.inc();
                    let hint = "the connections are closed, but the tokens stay valid";
                    tracing::error!(user, jti, before, reason = %error, hint, "revocation dropped");
                }
            }
            if is_new {
                tracing::info!(user, jti, before, until, "tokens revoked");
            }
        }
        let count = i64::try_from(self.revocations.count()).unwrap_or(i64::MAX);
        self.metrics.tokens.revocations.set(count);
        is_new
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<RevokedTokens, u64>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the revocations from Redis whenever the broker has connected, and writes those that are not there.
struct Keeper {
    store: RevocationStore,
    revoker: Arc<Revoker>,
    /// Of what Redis had when it was last asked.
    identity: Option<Box<str>>,
    is_denied: bool,
}

impl Keeper {
    /// Runs until the broker ends.
    async fn run(mut self) {
        let mut connections = self.store.connections();
        let mut read_at = 0;
        loop {
            let connection = *connections.borrow_and_update();
            if connection > read_at && self.read().await {
                read_at = connection;
            }
            let is_done = connection == read_at && (connection == 0 || self.save().await);
            tokio::select! {
                changed = connections.changed() => if changed.is_err() { return },
                () = self.revoker.changed.notified() => {}
                () = sleep(RETRY_AFTER), if !is_done => {}
            }
        }
    }

    /// Returns whether Redis has been asked.
    async fn read(&mut self) -> bool {
        let stored = match self.store.change(Vec::new()).await {
            Ok(stored) => stored,
            Err(StoreError::Denied) => {
                self.log_denial();
                return true;
            }
            Err(StoreError::Unreachable) => return false,
        };
        self.is_denied = false;
        self.take(stored).await;
        self.revoker.has_read.store(true, Ordering::Relaxed);
        true
    }

    async fn take(&mut self, stored: RevocationSnapshot) {
        let entries: Vec<(RevokedTokens, u64)> = stored
            .entries
            .iter()
            .filter_map(|(text, until)| Some((Revocation::from_json(text).ok()?.tokens, *until)))
            .collect();
        if entries.len() < stored.entries.len() {
            tracing::warn!(
                unknown = stored.entries.len() - entries.len(),
                "revocations in Redis ignored: is another version of Yamabiko running?"
            );
        }
        if let Some(seen) = self.identity.replace(stored.identity.clone()) {
            let known: HashSet<&RevokedTokens> = entries.iter().map(|(tokens, _)| tokens).collect();
            let own = self.revoker.list();
            for Revocation { tokens, until } in own.into_iter().filter(|own| !known.contains(&own.tokens)) {
                if self.revoker.unsaved().contains_key(&tokens) {
                    continue;
                }
                if seen == stored.identity {
                    // Taken back while this node was away.
                    self.revoker.put_in_force(&tokens, 0);
                } else {
                    // Redis has lost it.
                    self.revoker.unsaved().insert(tokens, until.unwrap_or_default());
                }
            }
        }
        for (tokens, until) in entries {
            let is_removed = self.revoker.unsaved().get(&tokens) == Some(&0);
            if !is_removed && self.revoker.put_in_force(&tokens, until) {
                self.revoker.hub.close_revoked(tokens, &close::REVOKED);
                // There may be many, and each is a look at every connection.
                yield_now().await;
            }
        }
    }

    /// Returns whether everything is in Redis, or cannot be.
    async fn save(&mut self) -> bool {
        let unsaved = self.revoker.unsaved().clone();
        if unsaved.is_empty() {
            return true;
        }
        let entries = unsaved.iter().map(|(tokens, until)| (tokens.to_json(), *until)).collect();
        match self.store.change(entries).await {
            Ok(stored) => {
                if stored.is_full {
                    self.revoker.metrics.tokens.revocations_dropped.inc();
                    tracing::error!(
                        "revocations not stored: there are too many in Redis, and new ones end with this process"
                    );
                }
                self.identity = Some(stored.identity);
            }
            // Nor will it be later.
            Err(StoreError::Denied) => self.log_denial(),
            Err(StoreError::Unreachable) => return false,
        }
        let mut left = self.revoker.unsaved();
        left.retain(|tokens, until| unsaved.get(tokens) != Some(until));
        left.is_empty()
    }

    fn log_denial(&mut self) {
        self.revoker.has_read.store(true, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_denied, true) {
            tracing::warn!(
                hint = format!("grant ~<redis.prefix>yamabiko:* and {REVOCATION_COMMANDS}"),
                "revocations denied by the Redis ACL: revoked tokens are valid again on a node that restarts"
            );
        }
    }
}
