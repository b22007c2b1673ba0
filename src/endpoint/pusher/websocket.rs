use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};

use super::connection::ConnectionGuard;
use super::context::PusherContext;
use super::handler::{PusherHandler, Served};
use super::tail::tail_event;
use crate::channels::Channels;
use crate::hub::{Connection, ConnectionId, ConnectionWalk, Hub, Outbox, WireFormat};
use crate::message::{CloseReason, Frame};
use crate::protocol::pusher::{
    App, Apps, ENCODING, ENCODING_WITH_IDS, Fatal, InvalidToken, SessionKey, close, server_message,
};
use crate::telemetry::{Protocol, TailEvent, TailKind};
use crate::transport::{
    self, ConnectionOptions, EndpointContext, NewConnections, OriginPolicy, Rejection, accept,
    retries_on_503, serve,
};

/// The Pusher protocol over WebSocket.
static FORMAT: WireFormat = WireFormat {
    encoding: ENCODING,
    closes: &close::CLOSES,
    all_closes: &[&close::ALL, &transport::close::ALL],
    encode_close: Frame::close,
};

/// The same for clients that are told positions.
static FORMAT_WITH_IDS: WireFormat = WireFormat {
    encoding: ENCODING_WITH_IDS,
    closes: &close::CLOSES,
    all_closes: &[&close::ALL, &transport::close::ALL],
    encode_close: Frame::close,
};

/// Where clients of the Pusher protocol connect.
#[derive(Debug)]
pub struct PusherEndpoint {
    context: Arc<EndpointContext>,
    hub: Arc<Hub>,
    apps: ArcSwap<ServedApps>,
    pusher: Arc<PusherContext>,
}

/// The apps, with the options of their connections.
#[derive(Debug)]
pub(super) struct ServedApps {
    pub(super) apps: Apps,
    /// For connections that no app serves.
    options: Arc<ConnectionOptions>,
    /// By the app's id.
    of_apps: HashMap<Arc<str>, AppEndpoint>,
}

/// The settings and limits of one app.
#[derive(Debug)]
struct AppEndpoint {
    options: Arc<ConnectionOptions>,
    /// Of an app that lists origins.
    origins: Option<OriginPolicy>,
}

/// Added to the burst of an app without a limit of channels per connection.
const CHANNELS_AT_ONCE: usize = 1000;

impl PusherEndpoint {
    /// `recovery_window` is how long the session of a page is kept after its connection has ended; 0 keeps none. Needs a tokio runtime.
    #[must_use]
    pub fn new(
        context: Arc<EndpointContext>,
        hub: Arc<Hub>,
        apps: Apps,
        channels: Arc<Channels>,
        recovery_window: Duration,
    ) -> Arc<Self> {
        let apps = ArcSwap::from_pointee(ServedApps::new(apps, *context.options()));
        let pusher = PusherContext::start(channels, recovery_window);
        Arc::new(Self { context, hub, apps, pusher })
    }

    /// Replaces the apps, and takes over the options of new connections. Connections keep their settings, unless their app is gone: those
    /// are closed. Needs a tokio runtime.
    pub fn set_apps(self: &Arc<Self>, apps: Apps) {
        let served = Arc::new(ServedApps::new(apps, *self.context.options()));
        let before = self.apps.swap(served.clone());
        let removed = before.of_apps.keys().filter(|id| !served.of_apps.contains_key(*id));
        let removed: HashSet<Arc<str>> = removed.cloned().collect();
        if !removed.is_empty() {
            tokio::spawn(self.clone().close_connections_of(removed));
        }
    }

    /// Closes the connections of apps that are gone.
    async fn close_connections_of(self: Arc<Self>, apps: HashSet<Arc<str>>) {
        /// Only a connection whose upgrade is not complete does not answer. Each time takes half a second.
        const ASK_TIMES: usize = 120;
        let (mut walk, mut closed) = (ConnectionWalk::default(), 0_usize);
        while let Some(listed) = self.hub.next_connections(&mut walk).await {
            let is_pusher =
                |outbox: &Outbox| [ENCODING, ENCODING_WITH_IDS].contains(&outbox.format().encoding);
            let mut asked: Vec<_> = listed
                .into_iter()
                .filter(|connection| is_pusher(&connection.outbox))
                .map(|connection| (connection.id, connection.outbox))
                .collect();
            for _ in 0..ASK_TIMES {
                if asked.is_empty() {
                    break;
                }
                let infos = self.context.inquiries.ask(&asked).await;
                asked.retain(|(id, outbox)| {
                    let Some(info) = infos.get(id) else { return outbox.ending().is_none() };
                    if info.app.as_deref().is_some_and(|app| apps.contains(app)) {
                        self.refuse(outbox, Fatal::NoSuchApp);
                        closed += 1;
                    }
                    false
                });
            }
        }
        let apps: Vec<&str> = apps.iter().map(|id| &**id).collect();
        tracing::info!(
            apps = apps.join(", "),
            connections = closed,
            "apps removed: their connections are closed"
        );
    }

    /// Tells operators who watch.
    fn tell(&self, served: &Result<Option<Served>, Fatal>, connection: ConnectionId, client: Option<IpAddr>) {
        self.context.metrics.tail.tell(|| {
            let (kind, app, reason) = match served {
                Ok(Some(served)) => (TailKind::Connected, Some(served.app.credentials.id().clone()), None),
                Ok(None) => (TailKind::Refused, None, Some("going_away".into())),
                Err(fatal) => (TailKind::Refused, None, Some(fatal.to_string().into())),
            };
            TailEvent { app, reason, address: client, ..tail_event(kind, connection) }
        });
    }

    fn refuse(&self, outbox: &Outbox, fatal: Fatal) {
        outbox.push(&server_message::fatal(fatal), self.hub.outbox_bytes());
        outbox.close(fatal.close());
    }

    pub(super) fn served(&self) -> Arc<ServedApps> {
        self.apps.load_full()
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.pusher.channels
    }

    /// Keeps the sessions of all pages for other nodes. Call it when the connections are closed, before the node
    /// [leaves](Channels::leave). Returns how long the other nodes keep what the sessions have joined.
    pub async fn finish(&self) -> Duration {
        self.pusher.finish().await
    }

    /// Answers a handshake: 101 and a session of the app whose key is in the path.
    ///
    /// A fatal error is sent after the upgrade, as an error frame and a close code: a page cannot see any other.
    pub(super) fn connect(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let protocol = Protocol::new("pusher");
        self.context.answer_handshake(protocol, request, |request, client| self.upgrade(request, client))
    }

    fn upgrade(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        client: Option<IpAddr>,
    ) -> Result<Response<Body>, Rejection> {
        let new_connections = self.context.new_connections();
        if new_connections == NewConnections::Reject && retries_on_503(request.headers()) {
            return Err(Rejection::DRAINING);
        }
        let apps = self.apps.load();
        let app = self.app(&apps, request.uri().path(), request.uri().query(), request.headers());
        let (response, upgrade) = accept(request)?;
        let connection = self.hub.connect(Arc::new(Outbox::new(format(request.uri().query()))));
        self.context.on_connected();
        let served = match new_connections {
            NewConnections::Serve | NewConnections::ServeWhileDraining => {
                app.and_then(|(app, session)| self.admit(&app, &connection, session)).map(Some)
            }
            NewConnections::Reject => {
                connection.outbox().close_for(CloseReason::Restarting);
                app.map(|_| None)
            }
            NewConnections::Hold => app.map(|_| None),
        };
        self.tell(&served, connection.id(), client);
        let ip = client.map(tracing::field::display);
        match &served {
            Ok(Some(Served { app, client, .. })) => tracing::info!(
                connection = connection.id(),
                app = &**app.credentials.id(),
                socket_id = client.as_ref().map(|client| tracing::field::display(client.id())),
                ip,
                "connected"
            ),
            Ok(None) => {
                tracing::info!(connection = connection.id(), ip, reason = "going_away", "connection refused");
            }
            Err(fatal) => {
                let reason = fatal.to_string();
                tracing::info!(connection = connection.id(), ip, reason, "connection refused");
                self.refuse(connection.outbox(), *fatal);
            }
        }
        let served = served.unwrap_or_default();
        if served
            .as_ref()
            .is_some_and(|served| self.served().apps.by_id(served.app.credentials.id()).is_none())
        {
            // It was removed since it was looked up.
            self.refuse(connection.outbox(), Fatal::NoSuchApp);
        }
        let of_app = served.as_ref().and_then(|served| apps.of_apps.get(served.app.credentials.id()));
        let options = of_app.map_or(&apps.options, |app| &app.options).clone();
        serve(upgrade, PusherHandler::new(self.context.clone(), connection, served), options, None);
        Ok(response)
    }

    /// The app whose key is in the path, and the session of the page if there is a token.
    fn app(
        &self,
        apps: &ServedApps,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(Arc<App>, Option<SessionKey>), Fatal> {
        let (key, token) = key_and_token(path).ok_or(Fatal::PathNotFound)?;
        let app = apps.apps.connect(key, query)?;
        let own = apps.of_apps.get(app.credentials.id()).and_then(|app| app.origins.as_ref());
        if !own.map_or_else(|| self.context.admits_origin(headers), |origins| origins.admits(headers)) {
            return Err(Fatal::Unauthorized);
        }
        let origin = headers.get(header::ORIGIN).map_or(&[][..], HeaderValue::as_bytes);
        let session = token.map(|token| SessionKey::new(app.credentials.id(), origin, token)).transpose();
        let session = session.map_err(|InvalidToken| Fatal::InvalidToken)?;
        Ok((app.clone(), session.filter(|_| self.pusher.sessions.is_on())))
    }

    fn admit(
        &self,
        app: &Arc<App>,
        connection: &Connection,
        session: Option<SessionKey>,
    ) -> Result<Served, Fatal> {
        let admitted = self.context.admission.admit().map_err(|_| Fatal::OverCapacity)?;
        let client = ConnectionGuard::open(&self.pusher, app, connection, session)?;
        Ok(Served { app: app.clone(), client: Some(client), _admitted: admitted })
    }
}

impl ServedApps {
    fn new(apps: Apps, options: ConnectionOptions) -> Self {
        let options = options.without_pong_timeout();
        let of_app = |app: &Arc<App>| {
            let origins = &app.rules.origins;
            let of_app = AppEndpoint {
                options: Arc::new(options_of(options, app)),
                origins: (!origins.is_empty()).then(|| OriginPolicy::new(origins)),
            };
            (app.credentials.id().clone(), of_app)
        };
        let of_apps = apps.iter().map(of_app).collect();
        Self { apps, options: Arc::new(options), of_apps }
    }
}

/// The key of an app, and the token of a session if there is one, from `/app/KEY`, `/app/KEY~TOKEN` or `/TOKEN/app/KEY`.
fn key_and_token(path: &str) -> Option<(&str, Option<&str>)> {
    let (before, key) = path.split_once("/app/")?;
    if key.is_empty() || key.contains('/') {
        return None;
    }
    match before.strip_prefix('/') {
        Some(token) => Some((key, Some(token))),
        // A key cannot contain a `~`.
        None => Some(key.split_once('~').map_or((key, None), |(key, token)| (key, Some(token)))),
    }
}

/// Clients ask for positions with `recovery=2`.
fn format(query: Option<&str>) -> &'static WireFormat {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let tells_positions = pairs.any(|(name, value)| name == "recovery" && value == "2");
    if tells_positions { &FORMAT_WITH_IDS } else { &FORMAT }
}

/// The options of an app's connections.
fn options_of(options: ConnectionOptions, app: &App) -> ConnectionOptions {
    // A page that reconnects subscribes to all of its channels at once.
    let channels = match app.rules.channels_per_connection {
        0 => CHANNELS_AT_ONCE,
        channels => channels,
    };
    // A message that the app permits must not break the connection.
    options
        .with_larger_burst(u32::try_from(channels).unwrap_or(u32::MAX))
        .with_message_bytes(app.rules.max_message_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_after_the_key_or_before_the_path() {
        assert_eq!(key_and_token("/app/k"), Some(("k", None)));
        assert_eq!(key_and_token("/app/k~t"), Some(("k", Some("t"))));
        assert_eq!(key_and_token("/app/k~t~u"), Some(("k", Some("t~u"))));
        assert_eq!(key_and_token("/app/k~"), Some(("k", Some(""))));
        assert_eq!(key_and_token("/t/app/k"), Some(("k", Some("t"))));
        for path in ["/app", "/app/", "/app/k/x", "/t/app/", "/t/app/k/x", "/k"] {
            assert_eq!(key_and_token(path), None, "{path}");
        }
    }
}
