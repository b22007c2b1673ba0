use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};

use super::handler::{NativeHandler, NativeService};
use crate::auth::{Authenticator, Identity, TokenRejectReason};
use crate::broker::Broker;
use crate::hub::{Hub, Outbox, WireFormat};
use crate::message::{Frame, Sender};
use crate::protocol::native::{ENCODING, Native, close};
use crate::telemetry::logged;
use crate::transport::{EndpointContext, NewConnections, Rejection, accept, serve};
use crate::unix_time::unix_time;

/// The native protocol over WebSocket.
static FORMAT: WireFormat =
    WireFormat { encoding: ENCODING, closes: &close::CLOSES, encode_close: Frame::close };

/// Where native clients connect.
#[derive(Debug)]
pub struct NativeEndpoint {
    service: Arc<NativeService>,
    hub: Arc<Hub>,
    authenticator: Arc<Authenticator>,
    close_on_expiry: bool,
}

impl NativeEndpoint {
    #[must_use]
    pub fn new(
        context: Arc<EndpointContext>,
        hub: Arc<Hub>,
        native: Arc<Native>,
        broker: Arc<Broker>,
        authenticator: Arc<Authenticator>,
        close_on_expiry: bool,
    ) -> Arc<Self> {
        let service = Arc::new(NativeService { context, native, broker });
        Arc::new(Self { service, hub, authenticator, close_on_expiry })
    }

    /// Answers a handshake: 101, or why not.
    ///
    /// The connection has joined its channel before the response is written, so that a client misses nothing after `open`.
    pub(super) fn connect(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        self.service.context.answer_handshake(request, |request, client| self.upgrade(request, client))
    }

    fn upgrade(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        client: Option<IpAddr>,
    ) -> Result<Response<Body>, Rejection> {
        let context = &self.service.context;
        if matches!(context.new_connections(), NewConnections::Reject | NewConnections::Hold) {
            return Err(Rejection::DRAINING);
        }
        if !context.origins.admits(request.headers()) {
            return Err(Rejection::ORIGIN);
        }
        let identity = self.authenticate(request)?;
        let (response, upgrade) = accept(request)?;
        let admitted = context.admission.admit_user(&identity.id).ok();
        let mut connection = self.hub.connect(Arc::new(Outbox::new(&FORMAT)));
        if admitted.is_some() {
            connection.join(&identity.channel, &identity.id);
        } else {
            // A page cannot see why a handshake was rejected, but it can see a close code.
            connection.outbox().close(&close::OVER_CAPACITY);
        }
        context.on_connected();
        tracing::info!(
            connection = connection.id(),
            user = logged(identity.id.form()),
            channel = identity.channel.as_str(),
            ip = client.map(tracing::field::display),
            "connected"
        );
        let sender = Sender { name: identity.name, id: identity.id };
        let handler = NativeHandler::new(self.service.clone(), connection, sender, admitted);
        let expires_at = self.close_on_expiry.then_some(identity.expires_at);
        serve(upgrade, handler, context.options.clone(), expires_at);
        Ok(response)
    }

    fn authenticate(&self, request: &Request<Body>) -> Result<Identity, Rejection> {
        let now = unix_time().as_secs();
        let identity = match token(request.uri().query(), request.headers()) {
            Some(token) => self.authenticator.verify(&token, now),
            None => Err(TokenRejectReason::Missing),
        };
        identity.map_err(|refusal| Rejection {
            status: StatusCode::UNAUTHORIZED,
            code: refusal.code(),
            message: refusal.to_string().into(),
        })
    }
}

/// The token in the query string, or in the `Authorization` header.
fn token<'a>(query: Option<&'a str>, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let in_query = pairs.into_iter().find(|(key, _)| key == "token").map(|(_, token)| token);
    in_query.or_else(|| {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = authorization.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
    })
}
