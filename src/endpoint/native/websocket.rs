use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};

use crate::auth::{Authenticator, Identity, Refusal as AuthRefusal};
use crate::broker::{Broker, PublishError};
use crate::hub::{Connection, Outbox};
use crate::message::{ChannelName, Close, Position, Sender};
use crate::protocol::native::{Answer, Native, Refusal, encode_answer};
use crate::telemetry::{Metrics, Reason, logged};
use crate::transport::{
    ConnectionHandler, DisconnectReason, EndpointContext, Message, Rejection, accept, serve,
};

/// Where native clients connect.
#[derive(Debug)]
pub struct NativeEndpoint {
    edge: Arc<EndpointContext>,
    native: Arc<Native>,
    broker: Arc<Broker>,
    authenticator: Arc<Authenticator>,
    close_on_expiry: bool,
}

impl NativeEndpoint {
    /// Puts the native protocol on an edge.
    #[must_use]
    pub fn new(
        edge: Arc<EndpointContext>,
        native: Arc<Native>,
        broker: Arc<Broker>,
        authenticator: Arc<Authenticator>,
        close_on_expiry: bool,
    ) -> Arc<Self> {
        Arc::new(Self { edge, native, broker, authenticator, close_on_expiry })
    }

    /// Answers a handshake: 101 and a connection in its channel, or why not.
    ///
    /// The connection has joined before the answer is written, so that a client that sees `open` misses nothing.
    pub fn connect(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        self.edge.handshake(request, |request, client| self.upgrade(request, client))
    }

    fn upgrade(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        client: Option<IpAddr>,
    ) -> Result<Response<Body>, Rejection> {
        self.edge.check(request.headers())?;
        let identity = self.authenticate(request)?;
        let (response, upgrade) = accept(request)?;
        let admitted = self.edge.admission.admit(&identity.id);
        let outbox = Arc::new(Outbox::new());
        let mut connection = self.edge.hub.connect(outbox);
        if admitted.is_ok() {
            connection.join(&identity.channel, &identity.id);
        } else {
            // A refusal before the upgrade would be invisible to a page; a close code is not.
            connection.outbox().close(Close::OverCapacity);
        }
        self.edge.opened();
        tracing::info!(
            connection = connection.id(),
            user = logged(identity.id.form()),
            channel = identity.channel.as_str(),
            ip = client.map(tracing::field::display),
            "connected"
        );
        let conversation = NativeHandler {
            endpoint: self.clone(),
            sender: Sender { name: identity.name, id: identity.id },
            admitted: admitted.is_ok(),
        };
        let expires_at = self.close_on_expiry.then_some(identity.expires_at);
        serve(upgrade, connection, conversation, self.edge.options.clone(), expires_at);
        Ok(response)
    }

    fn authenticate(&self, request: &Request<Body>) -> Result<Identity, Rejection> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let identity = match token(request.uri().query(), request.headers()) {
            Some(token) => self.authenticator.verify(&token, now),
            None => Err(AuthRefusal::Missing),
        };
        identity.map_err(|refusal| Rejection {
            status: StatusCode::UNAUTHORIZED,
            code: refusal.code(),
            message: refusal.to_string().into(),
        })
    }
}

/// The token in the query string, or in the `Authorization` header.
fn token<'a>(query: Option<&'a str>, headers: &'a HeaderMap) -> Option<std::borrow::Cow<'a, str>> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let in_query = pairs.into_iter().find(|(key, _)| key == "token").map(|(_, token)| token);
    in_query.or_else(|| {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = authorization.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
    })
}

/// One client of the native protocol. There are many: it is as small as can be.
#[derive(Debug)]
struct NativeHandler {
    endpoint: Arc<NativeEndpoint>,
    sender: Sender,
    /// Whether it was given a place. Where there was no room it only waits to be closed.
    admitted: bool,
}

impl NativeHandler {
    fn accept(&self, message: Message, connection: &Connection) -> Result<(), Refusal> {
        let (Message::Text(message) | Message::Binary(message)) = message;
        let channel = connection.channels().first().ok_or(Refusal::Internal)?;
        let event = self.endpoint.native.receive(channel, &self.sender, &message)?;
        let (outbox, limit) = (connection.outbox().clone(), connection.outbox_bytes());
        let metrics = self.endpoint.edge.metrics.clone();
        let bytes = message.len();
        outbox.asked(bytes);
        let receipt = move |accepted: Result<Option<Position>, PublishError>| {
            outbox.answered(bytes);
            answer(accepted.map(drop).map_err(|_| Refusal::Unavailable), &outbox, limit, &metrics);
        };
        self.endpoint.broker.publish(event, Box::new(receipt));
        Ok(())
    }
}

impl ConnectionHandler for NativeHandler {
    fn receive(&mut self, message: Message, connection: &Connection) {
        if let Err(refusal) = self.accept(message, connection) {
            let metrics = &self.endpoint.edge.metrics;
            answer(Err(refusal), connection.outbox(), connection.outbox_bytes(), metrics);
        }
    }

    fn throttled(&self, connection: &Connection) {
        self.endpoint.edge.throttled();
        tracing::info!(
            connection = connection.id(),
            user = logged(self.sender.id.form()),
            channel = connection.channels().first().map(tracing::field::display),
            "throttled: the client sends more than limits.messages_per_second"
        );
    }

    fn ended(&self, end: DisconnectReason, connection: &Connection) {
        let metrics = &self.endpoint.edge.metrics;
        let channel = connection.channels().first();
        metrics.connections.dec();
        metrics.connections_closed.get_or_create(&Reason::new(end.reason())).inc();
        if end == DisconnectReason::Server(Close::SlowConsumer) {
            tracing::warn!(
                connection = connection.id(),
                user = logged(self.sender.id.form()),
                channel = channel.map(ChannelName::as_str),
                limit = connection.outbox_bytes(),
                "slow consumer: what waited for it was dropped"
            );
        }
        tracing::info!(
            connection = connection.id(),
            user = logged(self.sender.id.form()),
            channel = channel.map(ChannelName::as_str),
            reason = end.reason(),
            code = end.code(),
            "disconnected"
        );
    }
}

impl Drop for NativeHandler {
    fn drop(&mut self) {
        if self.admitted {
            self.endpoint.edge.admission.leave(&self.sender.id);
        }
    }
}

fn answer(answer: Answer, outbox: &Outbox, limit: usize, metrics: &Metrics) {
    match answer {
        Ok(()) => {
            metrics.messages_accepted.inc();
        }
        Err(refusal) => {
            metrics.messages_refused.get_or_create(&Reason::new(refusal.code())).inc();
        }
    }
    outbox.push(&encode_answer(answer), limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_own_part_stays_small() {
        assert!(size_of::<NativeHandler>() <= 56);
    }
}
