use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};

use super::connection::ConnectionGuard;
use super::context::PusherContext;
use crate::channels::Channels;
use crate::hub::{Connection, Outbox};
use crate::message::Close;
use crate::protocol::pusher::{App, Apps, Fatal, outgoing};
use crate::telemetry::Reason;
use crate::transport::{
    ConnectionHandler, ConnectionOptions, DisconnectReason, EndpointContext, Message, Newcomers,
    OriginPolicy, Rejection, TrustedProxies, accept, retries_on_503, serve,
};

/// Where clients of the Pusher protocol connect.
#[derive(Debug)]
pub struct PusherEndpoint {
    edge: Arc<EndpointContext>,
    apps: Apps,
    context: Arc<PusherContext>,
    /// For connections of no app.
    options: Arc<ConnectionOptions>,
    /// What each app has of its own, by its id.
    own: HashMap<Arc<str>, Own>,
}

#[derive(Debug)]
struct Own {
    options: Arc<ConnectionOptions>,
    /// Of an app that names origins.
    gate: Option<OriginPolicy>,
}

/// So many more messages at once may come where an app has no limit of channels.
const CHANNELS_AT_ONCE: usize = 1000;

impl PusherEndpoint {
    /// Puts the Pusher protocol on an edge. Needs a tokio runtime.
    #[must_use]
    pub fn new(edge: Arc<EndpointContext>, apps: Apps, channels: Arc<Channels>) -> Arc<Self> {
        let options = edge.options.never_giving_up();
        let own = |app: &Arc<App>| {
            // A page that reconnects subscribes to all of its channels at once.
            let channels = match app.rules.channels_per_connection {
                0 => CHANNELS_AT_ONCE,
                channels => channels,
            };
            let options = options.with_larger_burst(u32::try_from(channels).unwrap_or(u32::MAX));
            // What an app lets clients send does not break the connection.
            let options = options.with_message_bytes(app.rules.max_message_bytes());
            let origins = &app.rules.origins;
            let gate = (!origins.is_empty()).then(|| OriginPolicy::new(origins, TrustedProxies::default()));
            (app.credentials.id().clone(), Own { options: Arc::new(options), gate })
        };
        let own = apps.iter().map(own).collect();
        let context = PusherContext::start(channels);
        Arc::new(Self { edge, apps, context, options: Arc::new(options), own })
    }

    /// Answers a handshake: 101 and a session of the app whose key is in the path.
    ///
    /// What is fatal is told after the upgrade, as an error frame and a close code: pages see nothing else.
    pub fn connect(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        self.edge.handshake(request, |request, client| self.upgrade(request, client))
    }

    fn upgrade(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        client: Option<IpAddr>,
    ) -> Result<Response<Body>, Rejection> {
        let newcomers = self.edge.newcomers();
        if newcomers == Newcomers::TurnedAway && retries_on_503(request.headers()) {
            return Err(Rejection::DRAINING);
        }
        let app = self.app(request.uri().path(), request.uri().query(), request.headers());
        let (response, upgrade) = accept(request)?;
        let outbox = Arc::new(Outbox::new());
        outbox.speak_pusher();
        let connection = self.edge.hub.connect(outbox);
        let ip = client.map(tracing::field::display);
        let place = match newcomers {
            Newcomers::Served | Newcomers::ServedForNow => {
                app.and_then(|app| self.admit(&app, &connection)).map(Some)
            }
            Newcomers::TurnedAway => {
                connection.outbox().close(Close::Restarting);
                app.map(|_| None)
            }
            Newcomers::Held => app.map(|_| None),
        };
        self.edge.opened();
        let place = match place {
            Ok(None) => {
                tracing::info!(connection = connection.id(), ip, reason = "going_away", "connection refused");
                None
            }
            Ok(Some(place)) => {
                tracing::info!(
                    connection = connection.id(),
                    app = &**place.app.credentials.id(),
                    socket_id = place.client.as_ref().map(|client| tracing::field::display(client.id())),
                    ip,
                    "connected"
                );
                Some(place)
            }
            Err(fatal) => {
                tracing::info!(
                    connection = connection.id(),
                    ip,
                    reason = fatal.to_string(),
                    "connection refused"
                );
                connection.outbox().push(&outgoing::fatal(fatal), connection.outbox_bytes());
                connection.outbox().close(fatal.close());
                None
            }
        };
        let own = place.as_ref().and_then(|place| self.own.get(place.app.credentials.id()));
        let options = own.map_or(&self.options, |own| &own.options).clone();
        let conversation = PusherHandler { endpoint: self.clone(), place };
        serve(upgrade, connection, conversation, options, None);
        Ok(response)
    }

    pub(super) fn apps(&self) -> &Apps {
        &self.apps
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.context.channels
    }

    fn app(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Arc<App>, Fatal> {
        let key = path.strip_prefix("/app/").filter(|key| !key.is_empty() && !key.contains('/'));
        let app = self.apps.connect(key.ok_or(Fatal::PathNotFound)?, query)?;
        let admitted = match self.own.get(app.credentials.id()).and_then(|own| own.gate.as_ref()) {
            Some(gate) => gate.admits(headers),
            None => self.edge.admits_origin(headers),
        };
        if admitted { Ok(app.clone()) } else { Err(Fatal::Unauthorized) }
    }

    fn admit(self: &Arc<Self>, app: &Arc<App>, connection: &Connection) -> Result<Place, Fatal> {
        self.edge.admission.admit_anyone().map_err(|_| Fatal::OverCapacity)?;
        match ConnectionGuard::open(&self.context, app, connection) {
            Ok(client) => Ok(Place { app: app.clone(), client: Some(client) }),
            Err(fatal) => {
                self.edge.admission.leave_anyone();
                Err(fatal)
            }
        }
    }
}

/// One client of the Pusher protocol.
#[derive(Debug)]
struct PusherHandler {
    endpoint: Arc<PusherEndpoint>,
    /// None where it was refused and only waits to be closed.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    app: Arc<App>,
    /// None as soon as the connection closes: who waits for the end of a closing handshake is nowhere any more.
    client: Option<ConnectionGuard>,
}

impl PusherHandler {
    fn client(&self) -> Option<&ConnectionGuard> {
        self.place.as_ref()?.client.as_ref()
    }
}

impl ConnectionHandler for PusherHandler {
    fn receive(&mut self, message: Message, _: &Connection) {
        let Some(Place { client: Some(client), .. }) = &self.place else { return };
        let (Message::Text(message) | Message::Binary(message)) = message;
        client.receive(&message);
    }

    fn heard(&mut self) {
        if let Some(client) = self.client() {
            client.heard();
        }
    }

    fn next_tick(&self) -> u32 {
        let Some(client) = self.client() else { return u32::MAX };
        u32::try_from(client.next_tick().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn tick(&mut self) -> bool {
        self.client().is_some_and(ConnectionGuard::tick)
    }

    fn closing(&mut self) {
        if let Some(place) = &mut self.place {
            place.client = None;
        }
    }

    fn throttled(&self, connection: &Connection) {
        self.endpoint.edge.throttled();
        tracing::info!(
            connection = connection.id(),
            app = self.place.as_ref().map(|place| &**place.app.credentials.id()),
            "throttled: the client sends more than limits.messages_per_second"
        );
    }

    fn ended(&self, end: DisconnectReason, connection: &Connection) {
        let metrics = &self.endpoint.edge.metrics;
        metrics.connections.dec();
        metrics.connections_closed.get_or_create(&Reason::new(end.reason())).inc();
        let app = self.place.as_ref().map(|place| &**place.app.credentials.id());
        if end == DisconnectReason::Server(Close::SlowConsumer) {
            tracing::warn!(
                connection = connection.id(),
                app,
                limit = connection.outbox_bytes(),
                "slow consumer: what waited for it was dropped"
            );
        }
        tracing::info!(
            connection = connection.id(),
            app,
            reason = end.reason(),
            code = end.code(),
            "disconnected"
        );
    }
}

impl Drop for PusherHandler {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.endpoint.edge.admission.leave_anyone();
        }
    }
}
