use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};

use super::handler::NativeHandler;
use super::presence::{Membership, Presence};
use super::recovery::Recovery;
use super::service::NativeService;
use super::tail::tail_event;
use crate::auth::{Identity, Settings, TokenRejectReason};
use crate::hub::{Connection, Hub, Outbox, WireFormat};
use crate::message::Sender;
use crate::protocol::native::close;
use crate::telemetry::{TailEvent, TailKind, logged};
use crate::transport::{ConnectionOptions, NewConnections, Rejection};
use crate::unix_time::unix_time;

/// Where native clients connect, whatever the transport.
#[derive(Debug)]
pub struct NativeEndpoint {
    pub(super) service: Arc<NativeService>,
    hub: Arc<Hub>,
    recovery: Arc<Recovery>,
    /// If a kind has it.
    presence: Option<Arc<Presence>>,
    /// In seconds.
    max_token_age: u64,
    /// Of a token that lives longer.
    has_warned: AtomicBool,
}

/// The native protocol on a transport.
#[derive(Debug)]
pub(super) struct Formats {
    pub(super) plain: WireFormat,
    /// For clients that ask for what they have missed.
    pub(super) with_gaps: WireFormat,
}

/// A client whose connection the transport serves from here on. It is on its channel, or about to be closed.
pub(super) struct Arrival {
    pub(super) handler: NativeHandler,
    /// On a channel whose clients see each other.
    pub(super) membership: Option<Membership>,
    pub(super) options: Arc<ConnectionOptions>,
    /// In Unix seconds.
    pub(super) expires_at: Option<u64>,
}

impl NativeEndpoint {
    #[must_use]
    pub fn new(service: Arc<NativeService>, hub: Arc<Hub>, settings: &Settings) -> Self {
        let (histories, native) = (service.histories.clone(), service.native.clone());
        let metrics = service.context.metrics.clone();
        let recovery = Recovery::new(histories, native, metrics, hub.outbox_bytes());
        let max_token_age = settings.max_token_age.as_secs();
        Self { service, hub, recovery, presence: None, max_token_age, has_warned: AtomicBool::new(false) }
    }

    /// The same, for an installation with channels whose clients see each other.
    #[must_use]
    pub fn with_presence(self, presence: Option<Arc<Presence>>) -> Self {
        Self { presence, ..self }
    }

    /// The user who asks for a connection, or why there is none.
    pub(super) fn admit(&self, request: &Request<Body>) -> Result<Identity, Rejection> {
        if matches!(self.service.context.new_connections(), NewConnections::Reject | NewConnections::Hold) {
            return Err(Rejection::DRAINING);
        }
        self.authorize(request)
    }

    /// The user of any request, or why it is rejected.
    pub(super) fn authorize(&self, request: &Request<Body>) -> Result<Identity, Rejection> {
        if !self.service.context.admits_origin(request.headers()) {
            return Err(Rejection::ORIGIN);
        }
        self.authenticate(request)
    }

    /// Lets a user in. It has joined its channel on return, so that it misses nothing after the response to its request. `since`: the ID
    /// up to which the client knows everything.
    pub(super) fn enter(
        &self,
        identity: Identity,
        since: Option<&str>,
        client: Option<IpAddr>,
        formats: &'static Formats,
    ) -> Arrival {
        let context = &self.service.context;
        let admitted = context.admission.admit_user(&identity.id).ok();
        let (connection, membership) = if admitted.is_some() {
            self.join(&identity, since, formats)
        } else {
            let connection = self.hub.connect(Arc::new(Outbox::new(&formats.plain)));
            // A page cannot see why a handshake was rejected, but it can see a close code.
            connection.outbox().close(&close::OVER_CAPACITY);
            (connection, None)
        };
        if self.service.authenticator.is_revoked(&identity, unix_time().as_secs()) {
            // Since it was verified.
            connection.outbox().close(&close::REVOKED);
        }
        context.on_connected();
        context.metrics.tail.tell(|| TailEvent {
            address: client,
            ..tail_event(TailKind::Connected, connection.id(), &identity.id, Some(&identity.channel))
        });
        tracing::info!(
            connection = connection.id(),
            user = logged(identity.id.form()),
            channel = identity.channel.as_str(),
            ip = client.map(tracing::field::display),
            "connected"
        );
        let sender = Sender { name: identity.name, id: identity.id };
        if let (Some(events), true) = (&*self.service.events.load(), admitted.is_some()) {
            events.connected(connection.id(), &identity.channel, &sender);
            self.service.silent_presence.announce(connection.id(), &identity.channel, &sender);
        }
        let handler = NativeHandler::new(self.service.clone(), connection, sender, admitted);
        let expires_at = self.service.close_on_expiry.then_some(identity.expires_at);
        Arrival { handler, membership, options: context.options(), expires_at }
    }

    /// Connects, and joins the channel of the token.
    fn join(
        &self,
        identity: &Identity,
        since: Option<&str>,
        formats: &'static Formats,
    ) -> (Connection, Option<Membership>) {
        let has_history = since.is_some() && self.service.histories.retention(&identity.channel).is_some();
        let format = if has_history { &formats.with_gaps } else { &formats.plain };
        let outbox = Outbox::new(format);
        outbox.set_token(identity.fingerprint());
        let mut connection = self.hub.connect(Arc::new(outbox));
        let membership = self.membership(&connection, identity);
        match since {
            Some(since) if has_history => {
                // What the client has missed follows the answer without anything in between.
                let presence = membership.as_ref().map(Membership::joiner);
                self.recovery.join(&mut connection, &identity.channel, &identity.id, since, presence);
                return (connection, membership);
            }
            Some(_) => self.recovery.join_without_history(&mut connection, &identity.channel, &identity.id),
            None => connection.join(&identity.channel, &identity.id),
        }
        if let Some(membership) = &membership {
            membership.join();
        }
        (connection, membership)
    }

    /// The place of a connection on a channel whose clients see each other.
    fn membership(&self, connection: &Connection, identity: &Identity) -> Option<Membership> {
        let presence = self.presence.as_ref()?;
        self.service.native.has_presence(&identity.channel).then(|| {
            let user = Sender { name: identity.name.clone(), id: identity.id.clone() };
            presence.membership(connection.handle(), &identity.channel, &user)
        })
    }

    /// A revocation may end before such a token.
    fn check_life(&self, identity: &Identity, now: u64) {
        let is_long = identity.expires_at.saturating_sub(now) > self.max_token_age;
        if is_long && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                user = logged(identity.id.form()),
                hint = "set auth.max_token_age to the longest life that the application gives to tokens",
                "a token lives longer than auth.max_token_age: when it is revoked, it becomes valid again"
            );
        }
    }

    fn authenticate(&self, request: &Request<Body>) -> Result<Identity, Rejection> {
        let now = unix_time().as_secs();
        let identity = match token(request.uri().query(), request.headers()) {
            Some(token) => self.service.authenticator.verify(&token, now),
            None => Err(TokenRejectReason::Missing),
        };
        identity.inspect(|identity| self.check_life(identity, now)).map_err(|refusal| Rejection {
            status: StatusCode::UNAUTHORIZED,
            code: refusal.code(),
            message: refusal.to_string().into(),
        })
    }
}

/// The token in the query string, or in the `Authorization` header.
fn token<'a>(query: Option<&'a str>, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
    parameter(query, "token").or_else(|| {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = authorization.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
    })
}

/// The first parameter of this name in the query string.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    query?.split('&').find_map(|pair| {
        // A token is long and has nothing to decode.
        let (key, value) = if pair.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
            form_urlencoded::parse(pair.as_bytes()).next()?
        } else {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.into(), value.into())
        };
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn a_parameter_is_the_first_of_its_name_and_decoded() {
        let value = |query| parameter(Some(query), "token");
        assert_eq!(value("since=1&token=a.b-c_d&token=other").as_deref(), Some("a.b-c_d"));
        assert_eq!(value("t%6Fken=a%2Eb+c").as_deref(), Some("a.b c"));
        assert_eq!(value("token").as_deref(), Some(""));
        assert_eq!(value("&&=&token==").as_deref(), Some("="));
        assert_eq!(value("token%=%zz&tokens=1"), None);
        assert_eq!(value(""), None);
        assert_eq!(parameter(None, "token"), None);
    }
}
