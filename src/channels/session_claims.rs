//! How a node asks another one for the session of a page, which only the node that has the connection knows exactly.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::wire::ClusterMessage;
use super::{Channels, Gap};
use crate::broker::SessionStore;
use crate::hub::{InFlight, Place};
use crate::message::{Audience, ChannelName, NodeName};

/// How long the other node may take: it may ask its client first.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// What a node knows about a session that another node asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAnswer {
    /// Nothing.
    Unknown,
    /// Its client is connected and has answered.
    InUse,
    /// The session, which this node gives up.
    GivenUp(String),
}

/// The protocol's side of sessions. No method may block.
pub trait SessionHost: Send + Sync {
    /// Another node asks for a session. It waits for [`Channels::answer_session`].
    fn on_claim(&self, session: String, by: NodeName);

    /// This node may have missed messages on a channel for good.
    fn on_gap(&self, app: &str, channel: &ChannelName);
}

#[derive(Default)]
pub(super) struct SessionClaims {
    host: OnceLock<Box<dyn SessionHost>>,
    /// Who waits for an answer, by the key of the session.
    waiting: Mutex<HashMap<String, oneshot::Sender<SessionAnswer>>>,
}

impl Channels {
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Where sessions are kept for other nodes. `None` on a single node.
    #[must_use]
    pub fn session_store(&self) -> Option<&SessionStore> {
        self.broker.sessions()
    }

    /// Sets the host of this node's sessions. Only the first call has an effect.
    pub fn set_session_host(&self, host: Box<dyn SessionHost>) {
        let _ = self.session_claims.host.set(host);
    }

    /// Tells the clients of a channel that this node may have missed messages for good: those with a session, and those that
    /// are told positions. The others cannot tell what they have missed anyway.
    pub fn tell_gap(&self, Gap { channel: scoped, position }: &Gap, place: Place) {
        let Some((app, name)) = scoped.as_str().split_once(ChannelName::SCOPE_END) else { return };
        let Ok(channel) = ChannelName::new(name) else { return };
        let id = position.map(|position| position.to_string());
        self.hub.publish_at(scoped, place, InFlight::default(), |encoding| {
            Some((Audience::Everyone, self.dialect.gap(&channel, id.as_deref(), encoding)?))
        });
        if let Some(host) = self.session_claims.host.get() {
            host.on_gap(app, &channel);
        }
    }

    /// Asks a node for a session. `None`: it does not answer.
    pub async fn ask_session(&self, node: &str, session: &str) -> Option<SessionAnswer> {
        let (reply, answer) = oneshot::channel();
        self.session_claims.waiting().insert(session.to_owned(), reply);
        let claim = ClusterMessage::SessionClaim { of: node.into(), session: session.into() };
        let asking = async {
            self.send(&claim).await.ok()?;
            answer.await.ok()
        };
        let answer = timeout(ANSWER_WITHIN, asking).await.ok().flatten();
        self.session_claims.waiting().remove(session);
        answer
    }

    /// Answers a node that asks for a session.
    pub async fn answer_session(&self, to: NodeName, session: String, answer: SessionAnswer) {
        let (in_use, given_up) = match answer {
            SessionAnswer::Unknown => (false, None),
            SessionAnswer::InUse => (true, None),
            SessionAnswer::GivenUp(text) => (false, Some(text)),
        };
        // Without an answer, the other node takes what Redis has.
        let _ = self.send(&ClusterMessage::SessionAnswer { to, session, in_use, given_up }).await;
    }

    pub(super) fn handle_session_claim(&self, by: NodeName, of: &NodeName, session: String) {
        if *of == self.node
            && let Some(host) = self.session_claims.host.get()
        {
            host.on_claim(session, by);
        }
    }

    pub(super) fn handle_session_answer(
        &self,
        to: &NodeName,
        session: &str,
        in_use: bool,
        given_up: Option<String>,
    ) {
        if *to != self.node {
            return;
        }
        let Some(reply) = self.session_claims.waiting().remove(session) else { return };
        let answer = match given_up {
            Some(text) => SessionAnswer::GivenUp(text),
            None if in_use => SessionAnswer::InUse,
            None => SessionAnswer::Unknown,
        };
        // Fails if nobody waits any more.
        let _ = reply.send(answer);
    }
}

impl SessionClaims {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<SessionAnswer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SessionClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionClaims")
    }
}
