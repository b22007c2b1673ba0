//! How a connection takes over the session of an earlier one, and leaves it to the next one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Inner, PusherConnection};
use super::context::PusherContext;
use super::kept_session::{KeptChannel, KeptSession};
use super::leave::EndedSession;
use super::milliseconds;
use super::recovery::Recovery;
use super::sessions::{Claim, SessionHolder};
use crate::message::{ChannelName, Reconnect};
use crate::protocol::pusher::{Fatal, Session, SessionKey, close, server_message};
use crate::transport::DisconnectReason;

/// How long the connection that has a session may take to answer when another one claims it.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long a connection claims a session that others have. A connection that does not know yet whether it has the session waits for
/// Redis and for other nodes, each for a second or two.
const CLAIM_WITHIN: Duration = Duration::from_secs(6);

/// How long a session is kept after the client has closed its connection without saying that the page is left. `disconnect()` of
/// pusher-js does that, and so does pusher-js itself before it connects again because it has had no answer for too long. If that
/// can be [told](Recovery::has_given_up), the session is kept as that of a lost connection.
const KEPT_AFTER_CLOSE: Duration = Duration::from_secs(5);

/// The close code of a browser that leaves the page.
const PAGE_LEFT: u16 = 1001;

/// Sessions that end in one turn of the task.
const ENDED_AT_ONCE: usize = 64;

impl PusherConnection {
    /// Begins or resumes a session, and greets the client when it is known which of the two it is.
    pub(super) fn claim(self: &Arc<Self>, key: SessionKey) {
        match self.context.sessions.claim(key, self) {
            Claim::New => self.begin(key),
            Claim::Kept(session) => self.resume(key, *session),
            Claim::Connected(elder) => {
                tokio::spawn(self.clone().contest(key, elder));
            }
        }
    }

    /// Begins a session that this node does not know.
    fn begin(self: &Arc<Self>, key: SessionKey) {
        if self.channels().session_store().is_some() {
            tokio::spawn(self.clone().take_over(key));
        } else {
            self.settle(key, KeptSession::next_claim(None), None);
        }
    }

    /// Resumes a session that this node has kept.
    fn resume(self: &Arc<Self>, key: SessionKey, session: KeptSession) {
        if self.channels().session_store().is_some() {
            tokio::spawn(self.clone().resume_latest(key, session));
        } else {
            self.settle(key, KeptSession::next_claim(Some(&session)), Some(session));
        }
    }

    /// Claims a session that another connection has. That one keeps it if its client answers. Gives up once its own client has gone.
    async fn contest(self: Arc<Self>, key: SessionKey, mut elder: Arc<dyn SessionHolder>) {
        let started = Instant::now();
        while started.elapsed() < CLAIM_WITHIN && !self.lock().has_left {
            match elder.challenge() {
                Some(answered) => match timeout(ANSWER_WITHIN, answered).await {
                    Ok(Ok(())) => return self.greet_without_session(&mut self.lock()),
                    // It has ended.
                    Ok(Err(_)) => {}
                    Err(_) if self.lock().has_left => return,
                    Err(_) => elder.clone().supersede(),
                },
                // It does not know yet whether it has the session.
                None => sleep(ANSWER_WITHIN / 20).await,
            }
            if self.lock().has_left {
                return;
            }
            match self.context.sessions.claim(key, &self) {
                Claim::New => return self.begin(key),
                Claim::Kept(session) => return self.resume(key, *session),
                Claim::Connected(other) => elder = other,
            }
        }
        // A new session would forget what the page has missed. It connects again in a second.
        self.refuse(&close::UNAVAILABLE);
    }

    /// The session is this connection's, which has claimed it at this time.
    pub(super) fn settle(
        self: &Arc<Self>,
        key: SessionKey,
        claimed_at: u64,
        mut resumed: Option<KeptSession>,
    ) {
        let mut inner = self.lock();
        if inner.is_greeted || inner.has_left {
            drop(inner);
            return self.give_back(key, claimed_at, resumed);
        }
        let now = self.channels().clock();
        let own = inner.session.socket_id();
        if let Some(session) = &mut resumed {
            self.take_back(session);
            tracing::info!(connection = self.handle.id(), socket_id = %session.socket_id, "session resumed");
            self.channels().metrics().pusher_sessions_resumed.inc();
            self.channels().adopt(session.socket_id, self.handle.id());
        }
        let id = resumed.as_ref().map_or(own, |session| session.socket_id);
        let (session, greeting) = Session::open(inner.session.app().clone(), id, now);
        inner.session = session;
        let mut recovery = Recovery::of_session(key, id, claimed_at, resumed, now);
        if self.channels().session_store().is_some() {
            recovery.written(now.saturating_add(milliseconds(self.context.sessions.window())));
        }
        inner.recovery = Some(Box::new(recovery));
        inner.is_greeted = true;
        self.handle.push(&greeting);
    }

    /// The session may have been here before, and not have left its channels yet.
    fn take_back(&self, session: &mut KeptSession) {
        let Some(before) = self.context.sessions.take_moved(session.socket_id) else { return };
        for left in before.channels.into_iter().filter(|left| left.is_local) {
            match session.channels.iter_mut().find(|kept| kept.channel == left.channel && !kept.is_local) {
                Some(kept) => kept.is_local = true,
                None => self.channels().exit(&before.app, left.channel.name(), session.socket_id),
            }
        }
        if before.is_signed_in && !session.is_signed_in {
            self.channels().sign_out(&before.app, session.socket_id);
        }
    }

    /// The client has not waited, or is gone.
    fn give_back(self: &Arc<Self>, key: SessionKey, claimed_at: u64, resumed: Option<KeptSession>) {
        let sessions = &self.context.sessions;
        if let Some(session) = resumed {
            let session = KeptSession { claimed_at, ..session };
            // It has not been anywhere since: other nodes may go on with it for as long as before.
            self.context.write_kept(key, &session, sessions.window());
            let until = self.channels().clock() + milliseconds(KEPT_AFTER_CLOSE);
            self.keep_again(key, session, until);
        } else {
            self.context.unwrite(key, claimed_at);
            sessions.forget(key, self);
        }
    }

    /// Keeps a session that this connection has claimed and does not resume.
    pub(super) fn keep_again(self: &Arc<Self>, key: SessionKey, session: KeptSession, until: u64) {
        for ended in self.context.sessions.keep(key, self, session, until) {
            self.context.end_session(ended);
        }
    }

    /// Greets a client that does not wait, or whose session another connection has: it has a connection as without a token.
    pub(super) fn greet_without_session(&self, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.is_greeted, true) {
            let timeout = inner.session.app().rules.activity_timeout;
            self.handle.push(&server_message::connection_established(inner.session.socket_id(), timeout));
        }
    }

    /// The connection has ended: keeps its session, or leaves its channels.
    pub(super) fn end(self: &Arc<Self>, reason: DisconnectReason) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.has_left, true) {
            return;
        }
        inner.session.abandon();
        let (app, id) = (inner.app_id().clone(), inner.session.socket_id());
        let recovery = inner.recovery.take();
        let session = recovery.and_then(|recovery| Some((recovery.key()?, *recovery)));
        if let Some((key, recovery)) = session {
            self.channels().release(id, self.handle.id());
            let has_given_up = recovery.has_given_up(self.channels().clock());
            match kept_for(reason, has_given_up, self.context.sessions.window()) {
                Some(time) => self.keep(&mut inner, key, recovery, time),
                None => self.end_session(&mut inner, key, recovery),
            }
        } else {
            self.leave(&mut inner);
        }
        drop(inner);
        self.channels().disconnect(&app, id);
    }

    fn end_session(self: &Arc<Self>, inner: &mut Inner, key: SessionKey, mut recovery: Recovery) {
        self.context.sessions.forget(key, self);
        self.context.unwrite(key, recovery.claimed_at());
        let rest = recovery.take_rest();
        if let Some(mut rest) = rest {
            // Those of pending subscriptions are left with them.
            rest.channels.retain(|kept| !inner.session.channels().any(|channel| *channel == kept.channel));
            rest.is_signed_in &= inner.session.user().is_none();
            self.context.end_session(rest);
        }
        self.leave(inner);
    }

    /// Leaves the hub, but not the channels.
    fn keep(self: &Arc<Self>, inner: &mut Inner, key: SessionKey, mut recovery: Recovery, time: Duration) {
        self.unwatch(inner);
        let (app, id) = (inner.app_id().clone(), inner.session.socket_id());
        let mut channels = Vec::new();
        for subscription in inner.session.take_channels(usize::MAX) {
            let name = subscription.channel.name().clone();
            if subscription.was_active {
                self.leave_hub(inner, &name);
                let since = recovery.read_on(&name).filter(|_| self.channels().has_history(&app, &name));
                let (channel, follows_gap) = (subscription.channel, recovery.follows_gap(&name));
                channels.push(KeptChannel { channel, since, follows_gap, is_local: true });
            } else if let Some(inherited) = recovery.take_inherited(&name) {
                // It has been entered or joined for the pending subscription.
                channels.push(KeptChannel { is_local: true, ..inherited });
            } else {
                self.channels().exit(&app, &name, id);
            }
        }
        let mut is_signed_in = inner.session.user().is_some();
        if let Some(rest) = recovery.take_rest() {
            channels.extend(rest.channels);
            is_signed_in |= rest.is_signed_in;
        }
        channels.shrink_to_fit();
        // This counts later than anything that was written while the client was connected, in whatever order Redis gets it.
        let claimed_at = recovery.claimed_at().saturating_add(1);
        let mut session = KeptSession::new(app, id, channels, is_signed_in, claimed_at);
        session.may_lack_channels = self.may_lack_channels(&recovery);
        if session.is_empty() {
            self.context.unwrite(key, recovery.claimed_at());
            return self.context.sessions.forget(key, self);
        }
        let until = self.channels().clock().saturating_add(milliseconds(time));
        self.context.write_kept(key, &session, time);
        for ended in self.context.sessions.keep(key, self, session, until) {
            self.channels().metrics().pusher_sessions_dropped.inc();
            tracing::warn!(socket_id = %ended.socket_id, "session ended early: too many are kept");
            self.context.end_session(ended);
        }
    }

    /// Leaves the channels of the session that the client has not subscribed to again in time.
    pub(super) fn leave_inherited(&self, inner: &mut Inner, now: u64) {
        let due = inner.recovery.as_mut().filter(|recovery| recovery.leave_at() <= now);
        let Some(rest) = due.and_then(|recovery| recovery.take_rest()) else { return };
        // All at once, so that the client cannot subscribe in between.
        for kept in &rest.channels {
            // Those of pending subscriptions stay.
            let is_pending = inner.session.channels().any(|channel| *channel == kept.channel);
            if kept.is_local && !is_pending {
                self.channels().exit(&rest.app, kept.channel.name(), rest.socket_id);
            }
        }
        if rest.is_signed_in && inner.session.user().is_none() {
            self.channels().sign_out(&rest.app, rest.socket_id);
        }
    }
}

impl SessionHolder for PusherConnection {
    fn challenge(&self) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.lock();
        let (ping, answered) = inner.recovery.as_mut()?.challenge();
        drop(inner);
        self.handle.push(&ping);
        Some(answered)
    }

    fn supersede(self: Arc<Self>) {
        self.handle.outbox().close(&close::SUPERSEDED);
        self.end(DisconnectReason::Server(&close::SUPERSEDED));
    }

    fn terminate(self: Arc<Self>) {
        let mut inner = self.lock();
        let actions = inner.session.close(Fatal::Unauthorized);
        self.perform(&mut inner, actions);
    }

    fn shut_down(self: Arc<Self>) {
        self.end(DisconnectReason::Server(&close::CLOSES.going_away));
    }

    fn tell_gap(&self, app: &str, channel: &ChannelName) {
        let inner = self.lock();
        let is_subscribed = inner.session.channels().any(|of| of.name() == channel);
        // Those that are told positions receive it from the hub.
        if is_subscribed && **inner.app_id() == *app && !self.tells_positions() {
            self.handle.push(&server_message::gap(channel.as_str(), None));
            if let Some((progress, ticket)) = inner.recovery.as_ref().and_then(|recovery| recovery.progress())
            {
                self.handle.track(ticket, progress);
            }
        }
    }

    fn write(&self) {
        self.write_session(&mut self.lock());
    }
}

impl PusherContext {
    /// Ends the session of a user whose connections the application terminates.
    pub(super) fn terminate(self: &Arc<Self>, key: &SessionKey) {
        let (connection, kept) = self.sessions.take(key);
        if let Some(connection) = connection {
            connection.terminate();
        }
        if let Some(kept) = kept {
            self.unwrite(*key, kept.claimed_at);
            self.end_session(kept);
        }
    }

    /// A session that nobody has resumed: leaves its channels.
    pub(super) fn end_session(self: &Arc<Self>, session: KeptSession) {
        if session.is_signed_in {
            self.channels.sign_out(&session.app, session.socket_id);
        }
        self.leaving.push(Arc::new(EndedSession::new(self.channels.clone(), session)));
    }

    /// Ends the sessions that nobody has resumed in time, forever.
    pub(super) async fn expire_sessions(context: Weak<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            loop {
                let Some(context) = context.upgrade() else { return };
                for session in context.sessions.expire_moved(context.channels.clock()) {
                    context.end_session(session);
                }
                let ended = context.sessions.expire(context.channels.clock(), ENDED_AT_ONCE);
                let has_more = ended.len() == ENDED_AT_ONCE;
                for session in ended {
                    context.end_session(session);
                }
                if !has_more {
                    break;
                }
                yield_now().await;
            }
        }
    }
}

/// How long the session of a connection is kept that has ended for this reason. `None`: it ends as well.
fn kept_for(reason: DisconnectReason, has_given_up: bool, window: Duration) -> Option<Duration> {
    match reason {
        DisconnectReason::Client(Some(PAGE_LEFT)) => None,
        DisconnectReason::Client(_) if has_given_up => Some(window),
        DisconnectReason::Client(_) => Some(window.min(KEPT_AFTER_CLOSE)),
        DisconnectReason::Server(close) => match close.reconnect {
            Reconnect::AtOnce | Reconnect::AfterDelay => Some(window),
            Reconnect::Never | Reconnect::WithNewToken => None,
        },
        DisconnectReason::HeartbeatTimeout | DisconnectReason::Lost => Some(window),
    }
}
