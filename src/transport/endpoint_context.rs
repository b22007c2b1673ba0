use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, Version};

use super::admission::Admission;
use super::handshake::asks_for_upgrade;
use super::inquiries::Inquiries;
use super::sse::Streams;
use super::{
    ConnectionOptions, DisconnectReason, Limits, OriginPolicy, PeerAddress, Rejection, TrustedProxies,
};
use crate::telemetry::{Metrics, Protocol, Reason, TailEvent, TailKind};

/// What the WebSocket endpoints of a server share.
#[derive(Debug)]
pub struct EndpointContext {
    /// The limits of connections.
    pub admission: Arc<Admission>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    options: ArcSwap<ConnectionOptions>,
    /// Who asks connections about themselves.
    pub inquiries: Inquiries,
    /// Where new tokens reach the streams of server-sent events.
    pub streams: Arc<Streams>,
    origins: ArcSwap<OriginPolicy>,
    proxies: TrustedProxies,
    /// How many connections the process has file descriptors for.
    descriptors: usize,
    new_connections: AtomicU8,
}

/// What happens to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NewConnections {
    /// They are served.
    Serve,
    /// They are served, although the server is about to shut down.
    ServeWhileDraining,
    /// They are rejected: the server is shutting down, and other nodes can serve them.
    Reject,
    /// They are kept open without being served, and closed last: the server is shutting down, and there is no other node. pusher-js
    /// reconnects a second after a close with 4100, but only 15 seconds after a rejected handshake, so that this way it finds the
    /// restarted server sooner.
    Hold,
}

impl EndpointContext {
    /// Serves new connections until [`set_new_connections`](Self::set_new_connections) says otherwise. `descriptors` is how many connections the process has file descriptors for.
    #[must_use]
    pub fn new(
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        options: ConnectionOptions,
        origins: OriginPolicy,
        proxies: TrustedProxies,
        descriptors: usize,
    ) -> Arc<Self> {
        let context = Self {
            admission,
            metrics,
            options: ArcSwap::from_pointee(options),
            inquiries: Inquiries::default(),
            streams: Arc::default(),
            origins: ArcSwap::from_pointee(origins),
            proxies,
            descriptors,
            new_connections: AtomicU8::new(NewConnections::Serve as u8),
        };
        context.report_limit();
        Arc::new(context)
    }

    /// Replaces the limits of connections.
    pub fn set_limits(&self, limits: &Limits) {
        self.admission.set_limits(limits);
        self.report_limit();
    }

    /// Message limits and heartbeat.
    #[must_use]
    pub fn options(&self) -> Arc<ConnectionOptions> {
        self.options.load_full()
    }

    /// Whether `server.origins` permits a request.
    #[must_use]
    pub fn admits_origin(&self, headers: &HeaderMap) -> bool {
        self.origins.load().admits(headers)
    }

    /// Replaces the settings of new connections.
    pub fn set_options(&self, options: ConnectionOptions, origins: OriginPolicy) {
        self.options.store(Arc::new(options));
        self.origins.store(Arc::new(origins));
    }

    /// What happens to new connections from here on.
    pub fn set_new_connections(&self, new_connections: NewConnections) {
        self.new_connections.store(new_connections as u8, Ordering::Relaxed);
    }

    /// What happens to new connections now.
    #[must_use]
    pub fn new_connections(&self) -> NewConnections {
        let stored = self.new_connections.load(Ordering::Relaxed);
        [NewConnections::ServeWhileDraining, NewConnections::Reject, NewConnections::Hold]
            .into_iter()
            .find(|known| *known as u8 == stored)
            .unwrap_or(NewConnections::Serve)
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.new_connections() != NewConnections::Serve
    }

    /// Answers a handshake with what `upgrade` makes of it for the client at this address. Counts and logs a rejection, and measures an
    /// acceptance.
    pub fn answer_handshake(
        &self,
        protocol: Protocol,
        request: Request<Body>,
        upgrade: impl FnOnce(&mut Request<Body>, Option<IpAddr>) -> Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        self.answer(protocol, request, |request, client| {
            if !asks_for_upgrade(request) {
                return Err(Rejection::UPGRADE_REQUIRED);
            }
            if request.version() < Version::HTTP_11 {
                return Err(Rejection::HTTP_VERSION);
            }
            self.check_descriptors()?;
            upgrade(request, client)
        })
    }

    /// The same for a connection that needs no upgrade.
    pub fn answer_connect(
        &self,
        protocol: Protocol,
        request: Request<Body>,
        connect: impl FnOnce(&mut Request<Body>, Option<IpAddr>) -> Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        self.answer(protocol, request, |request, client| {
            self.check_descriptors()?;
            connect(request, client)
        })
    }

    fn answer(
        &self,
        protocol: Protocol,
        mut request: Request<Body>,
        connect: impl FnOnce(&mut Request<Body>, Option<IpAddr>) -> Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        let began = Instant::now();
        let client = self.client_address(request.extensions().get::<PeerAddress>(), request.headers());
        let connected = connect(&mut request, client);
        if connected.is_ok() {
            let durations = self.metrics.latency.handshake.get_or_create(&protocol);
            durations.observe(began.elapsed().as_secs_f64());
        }
        connected.unwrap_or_else(|rejection| {
            self.on_rejected(&rejection, client);
            rejection.response()
        })
    }

    /// Whether the process has a file descriptor for one more connection.
    fn check_descriptors(&self) -> Result<(), Rejection> {
        let is_full =
            usize::try_from(self.metrics.connections.get()).is_ok_and(|open| open >= self.descriptors);
        if is_full { Err(Rejection::NO_DESCRIPTORS) } else { Ok(()) }
    }

    /// Counts a connection that was accepted.
    pub fn on_connected(&self) {
        self.metrics.connections.inc();
        self.metrics.connections_opened.inc();
    }

    /// Counts a connection that is over its message rate.
    pub fn on_throttled(&self) {
        self.metrics.connections_throttled.inc();
    }

    /// Counts the end of a connection.
    pub fn on_disconnected(&self, reason: DisconnectReason) {
        self.metrics.connections.dec();
        self.metrics.connections_closed.get_or_create(&Reason::new(reason.label())).inc();
    }

    fn report_limit(&self) {
        let limit = self.admission.limit().map_or(self.descriptors, |limit| limit.min(self.descriptors));
        self.metrics.connections_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    fn on_rejected(&self, rejection: &Rejection, client: Option<IpAddr>) {
        self.metrics.handshakes_refused.get_or_create(&Reason::new(rejection.code)).inc();
        self.metrics.tail.tell(|| TailEvent {
            kind: TailKind::Refused,
            address: client,
            reason: Some(rejection.code.into()),
            ..TailEvent::default()
        });
        tracing::info!(
            reason = rejection.code,
            detail = &*rejection.message,
            status = rejection.status.as_u16(),
            ip = client.map(tracing::field::display),
            "handshake refused"
        );
    }

    /// The address of the client, as trusted proxies report it.
    fn client_address(&self, peer: Option<&PeerAddress>, headers: &HeaderMap) -> Option<IpAddr> {
        peer.map(|PeerAddress(peer)| self.proxies.client(peer.ip(), headers))
    }
}
