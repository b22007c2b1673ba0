//! How a session moves to another node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::{Inner, PusherConnection};
use super::context::PusherContext;
use super::kept_session::KeptSession;
use super::milliseconds;
use super::resume::ANSWER_WITHIN;
use super::session_record::{self, META, SessionRecord};
use crate::broker::{SessionFields, SessionStore, StoreError};
use crate::channels::SessionAnswer;
use crate::message::{ChannelName, NodeName};
use crate::protocol::pusher::{SessionKey, close};

/// A node that has given no sign of life for longer than this is not asked.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// How long what a session has joined stays on the node that gives it up: the page is about to join on the other one.
const STAYS_AFTER_MOVE: Duration = Duration::from_secs(10);

/// How long what is on a node stays on the others after it has left, if it has sessions.
const STAYS_AFTER_LEAVE: Duration = Duration::from_secs(15);

/// How long the sessions may take to be written when the node shuts down.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The fields of a session that has ended with its connection, because there was nothing to keep.
const ENDED: &str = "{}";

/// What another node has of a session.
enum Found {
    /// A session begins, in place of one that was claimed until then.
    Nothing {
        after: u64,
    },
    Session(KeptSession),
    /// Its client is connected there.
    InUse,
    /// Redis cannot be asked.
    Unknown,
}

impl PusherConnection {
    /// Takes the session over from another node, or begins it.
    pub(super) async fn take_over(self: Arc<Self>, key: SessionKey) {
        let (resumed, claimed_at) = match self.find(&key.to_text()).await {
            Found::Nothing { after } => (None, self.claim_for_all(key, None, after).await),
            Found::Session(session) => {
                let claimed_at = self.claim_for_all(key, Some(&session), session.claimed_at).await;
                (Some(session), claimed_at)
            }
            Found::InUse => {
                self.context.sessions.forget(key, &self);
                return self.greet_without_session(&mut self.lock());
            }
            Found::Unknown => (None, Ok(None)),
        };
        if let Ok(Some(claimed_at)) = claimed_at {
            return self.settle(key, claimed_at, resumed);
        }
        // A new session would forget what the page has missed. It connects again in a second.
        self.context.sessions.forget(key, &self);
        self.refuse(&close::UNAVAILABLE);
    }

    /// Resumes a session that this node has kept, unless the page has gone on or begun another one elsewhere: while this node could not
    /// reach Redis, the others could not ask it.
    pub(super) async fn resume_latest(self: Arc<Self>, key: SessionKey, session: KeptSession) {
        match self.claim_for_all(key, Some(&session), session.claimed_at).await {
            Ok(Some(claimed_at)) => self.settle(key, claimed_at, Some(session)),
            Ok(None) => {
                self.context.leave_moved(session);
                self.take_over(key).await;
            }
            Err(_) => {
                // What the page has subscribed to elsewhere would be lost without a word. It connects again in a second.
                let until = session.until;
                self.keep_again(key, session, until);
                self.refuse(&close::UNAVAILABLE);
            }
        }
    }

    /// Claims a session for this node, where the others see it. Returns when. `None`: another node has claimed it later than `after`.
    ///
    /// The client is told nothing before. Otherwise another node could read, while Redis lacks what this one writes, that the session had
    /// ended before, and take a channel that the client has subscribed to here for a new one, on which it has missed nothing.
    async fn claim_for_all(
        &self,
        key: SessionKey,
        resumed: Option<&KeptSession>,
        after: u64,
    ) -> Result<Option<u64>, StoreError> {
        let claimed_at = KeptSession::next_claim(resumed);
        let Some(store) = self.channels().session_store() else { return Ok(Some(claimed_at)) };
        self.context.start_signs_of_life();
        let node = self.channels().node();
        let begun = resumed.is_none().then(|| {
            let inner = self.lock();
            KeptSession::new(inner.app_id().clone(), inner.session.socket_id(), Vec::new(), false, claimed_at)
        });
        let session = resumed.or(begun.as_ref());
        let fields = session.map(|session| session_record::claimed_fields(node, session, claimed_at));
        let fields = fields.unwrap_or_default();
        let ttl = self.context.sessions.window() * 2;
        let is_claimed = store.claim(&key.to_text(), claimed_at, after, fields, ttl).await?;
        Ok(is_claimed.then_some(claimed_at))
    }

    async fn find(&self, session: &str) -> Found {
        let channels = self.channels();
        let Some(store) = channels.session_store() else { return Found::Nothing { after: 0 } };
        let fields = match store.find(session).await {
            Ok(Some(fields)) => fields,
            Ok(None) => return Found::Nothing { after: 0 },
            Err(_) => return Found::Unknown,
        };
        let app = self.lock().app_id().clone();
        let Some(record) = SessionRecord::parse(fields, &app) else {
            return Found::Nothing { after: u64::MAX };
        };
        let ttl = self.context.sessions.window() * 2;
        // What the sign says is true of the session as it is found after it, not before.
        let name = record.session.socket_id.to_string();
        let (sign, fields) = tokio::join!(store.sign_of_life(&record.node, &name, ttl), store.find(session));
        let (Ok(sign), Ok(Some(fields))) = (sign, fields) else { return Found::Unknown };
        let node = record.node;
        let Some(record) = SessionRecord::parse(fields, &app).filter(|record| record.node == node) else {
            return Found::Unknown;
        };
        let is_alive = sign.as_ref().is_some_and(|sign| sign.age < SILENT_AFTER);
        if is_alive && record.node != **channels.node() {
            match channels.ask_session(&record.node, session).await {
                Some(SessionAnswer::InUse) => return Found::InUse,
                Some(SessionAnswer::GivenUp(text)) => {
                    if text == ENDED {
                        return Found::Nothing { after: record.session.claimed_at };
                    }
                    let exact = serde_json::from_str::<SessionFields>(&text).unwrap_or_default();
                    if let Some(exact) = SessionRecord::parse(exact, &app) {
                        return Found::Session(exact.at(None));
                    }
                }
                Some(SessionAnswer::Unknown) | None => {}
            }
        }
        Found::Session(record.at(sign.and_then(|sign| session_record::parse_state(&sign.text))))
    }

    /// Writes the whole session for other nodes.
    pub(super) fn write_session(&self, inner: &mut Inner) {
        let Some(store) = self.channels().session_store() else { return };
        let node = self.channels().node();
        let (app, id) = (inner.app_id().clone(), inner.session.socket_id());
        let is_signed_in = inner.session.user().is_some();
        let window = self.context.sessions.window();
        let Some(recovery) = &mut inner.recovery else { return };
        let Some(key) = recovery.key() else { return };
        let is_signed_in = is_signed_in || recovery.has_inherited_user();
        let meta = session_record::meta(node, &app, id, is_signed_in);
        let inherited = recovery.inherited().map(|kept| {
            let name = kept.channel.name().as_str();
            (session_record::field(name), session_record::value(kept.since, kept.follows_gap, false))
        });
        let mut fields: SessionFields = inherited.collect();
        fields.insert(META.to_owned(), meta);
        fields.insert(SessionStore::CLAIMED_AT.to_owned(), recovery.claimed_at().to_string());
        // The client of a pending subscription has not been promised anything yet.
        for channel in inner.session.active_channels() {
            let name = channel.name();
            let field = session_record::field(name.as_str());
            let since = recovery.read_on(name).filter(|_| self.channels().has_history(&app, name));
            let value = session_record::value(since, recovery.follows_gap(name), recovery.is_proven(name));
            fields.insert(field, value);
        }
        store.write(&key.to_text(), recovery.claimed_at(), fields, window * 2);
        recovery.written(self.channels().clock().saturating_add(milliseconds(window)));
    }

    /// Writes how far the client has read on some of its channels, for other nodes.
    pub(super) fn write_channels(&self, inner: &Inner, channels: &[ChannelName]) {
        let Some(store) = self.channels().session_store() else { return };
        let Some(recovery) = &inner.recovery else { return };
        let Some(key) = recovery.key() else { return };
        let written = channels.iter().map(|channel| {
            let has_history = self.channels().has_history(inner.app_id(), channel);
            let since = recovery.read_on(channel).filter(|_| has_history);
            let is_proven = recovery.is_proven(channel);
            let value = session_record::value(since, recovery.follows_gap(channel), is_proven);
            (session_record::field(channel.as_str()), value)
        });
        let ttl = self.context.sessions.window() * 2;
        store.set(&key.to_text(), recovery.claimed_at(), written.collect(), ttl);
    }

    pub(super) fn unwrite_channel(&self, inner: &Inner, channel: &ChannelName) {
        let recovery = inner.recovery.as_ref();
        let session = recovery.and_then(|recovery| Some((recovery.key()?, recovery.claimed_at())));
        if let (Some(store), Some((key, claimed_at))) = (self.channels().session_store(), session) {
            let ttl = self.context.sessions.window() * 2;
            store.unset(&key.to_text(), claimed_at, session_record::field(channel.as_str()), ttl);
        }
    }
}

impl PusherContext {
    /// Writes a session whose connection has ended.
    pub(super) fn write_kept(&self, key: SessionKey, session: &KeptSession, time: Duration) {
        if let Some(store) = self.channels.session_store() {
            let fields = session_record::fields(self.channels.node(), session);
            store.write(&key.to_text(), session.claimed_at, fields, time);
        }
    }

    /// Removes a session that was claimed at this time for other nodes.
    pub(super) fn unwrite(&self, key: SessionKey, claimed_at: u64) {
        if let Some(store) = self.channels.session_store() {
            store.remove(&key.to_text(), claimed_at);
        }
    }

    /// Another node asks for a session.
    pub(super) async fn on_claim(self: Arc<Self>, session: String, by: NodeName) {
        let answer = match SessionKey::parse(&session) {
            Some(key) => self.give_up(key).await,
            None => SessionAnswer::Unknown,
        };
        self.channels.answer_session(by, session, answer).await;
    }

    async fn give_up(self: &Arc<Self>, key: SessionKey) -> SessionAnswer {
        let mut was_here = false;
        loop {
            match self.sessions.take(&key) {
                (Some(elder), _) => match elder.challenge() {
                    None => return SessionAnswer::Unknown,
                    Some(answered) => {
                        match timeout(ANSWER_WITHIN, answered).await {
                            Ok(Ok(())) => {
                                // The node that asks may have written something.
                                elder.write();
                                return SessionAnswer::InUse;
                            }
                            Ok(Err(_)) => {}
                            Err(_) => elder.supersede(),
                        }
                        was_here = true;
                    }
                },
                (None, Some(kept)) => {
                    let fields = session_record::fields(self.channels.node(), &kept);
                    self.leave_moved(kept);
                    return SessionAnswer::GivenUp(serde_json::to_string(&fields).unwrap_or_default());
                }
                (None, None) if was_here => return SessionAnswer::GivenUp(ENDED.to_owned()),
                (None, None) => return SessionAnswer::Unknown,
            }
        }
    }

    /// Keeps what a session has joined here for a while, because it has moved to another node.
    fn leave_moved(self: &Arc<Self>, session: KeptSession) {
        let until = self.channels.clock().saturating_add(milliseconds(STAYS_AFTER_MOVE));
        if let Some(before) = self.sessions.keep_moved(session, until) {
            self.end_session(before);
        }
    }

    /// Keeps all sessions for other nodes, before this one leaves. Returns how long what they have joined stays there.
    pub(super) async fn finish(self: &Arc<Self>) -> Duration {
        for connection in self.sessions.connected() {
            connection.shut_down();
        }
        let Some(store) = self.channels.session_store() else { return Duration::ZERO };
        if !self.sessions.finish() {
            return Duration::ZERO;
        }
        store.remove_sign_of_life(self.channels.node());
        store.flush(FLUSH_WITHIN).await;
        if self.sessions.has_kept() { STAYS_AFTER_LEAVE.min(self.sessions.window()) } else { Duration::ZERO }
    }
}
