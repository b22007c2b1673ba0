use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, Version, header};

use super::admission::Admission;
use super::handshake::asks_for_upgrade;
use super::origin::OriginPattern;
use super::{ConnectionOptions, Heartbeat, Limits, PeerAddress, Rejection, TrustedProxies};
use crate::hub::Hub;
use crate::telemetry::{Metrics, Reason};

/// What every WebSocket endpoint of a server shares.
#[derive(Debug)]
pub struct EndpointContext {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// How many may be.
    pub admission: Arc<Admission>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The bounds and the heartbeat of each connection.
    pub options: Arc<ConnectionOptions>,
    gate: OriginPolicy,
    /// How many connections the process has file descriptors for.
    descriptors: usize,
    newcomers: AtomicU8,
}

/// What becomes of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Newcomers {
    /// They are served.
    Served,
    /// They are served, although the server is about to shut down.
    ServedForNow,
    /// The server is shutting down, and other nodes are there: whoever comes is to try one of them.
    TurnedAway,
    /// The server is shutting down, and no other node is there. pusher-js comes back a second after a close with 4100,
    /// but only 15 seconds after a refused handshake: its connections are kept open until the end and closed then, so
    /// that they come back to the server that has been started again.
    Held,
}

/// Who may knock: origins and proxies.
#[derive(Debug, Clone, Default)]
pub struct OriginPolicy {
    /// None: any.
    origins: Option<Vec<OriginPattern>>,
    proxies: TrustedProxies,
}

impl OriginPolicy {
    /// Takes the origins that may connect (none: any) and the proxies that are believed. An entry that is no origin admits
    /// nobody.
    #[must_use]
    pub fn new(origins: &[String], proxies: TrustedProxies) -> Self {
        let patterns = || origins.iter().filter_map(|origin| OriginPattern::parse(origin).ok()).collect();
        Self { origins: (!origins.is_empty()).then(patterns), proxies }
    }

    /// Whether the `Origin` header permits the handshake.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origins) = &self.origins else { return true };
        // Only browsers send it, and for them it is honest. Other clients prove who they are with the token.
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        origins.iter().any(|allowed| allowed.admits(origin))
    }
}

impl EndpointContext {
    /// Puts the edge before the hub.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        gate: OriginPolicy,
        limits: &Limits,
        heartbeat: &Heartbeat,
        descriptors: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            admission,
            metrics,
            options: Arc::new(ConnectionOptions::new(limits, heartbeat)),
            gate,
            descriptors,
            newcomers: AtomicU8::new(Newcomers::Served as u8),
        })
    }

    /// The server is shutting down: this becomes of new connections.
    pub fn drain(&self, newcomers: Newcomers) {
        self.newcomers.store(newcomers as u8, Ordering::Relaxed);
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.newcomers() != Newcomers::Served
    }

    /// What becomes of new connections now.
    #[must_use]
    pub fn newcomers(&self) -> Newcomers {
        let newcomers = self.newcomers.load(Ordering::Relaxed);
        [Newcomers::ServedForNow, Newcomers::TurnedAway, Newcomers::Held]
            .into_iter()
            .find(|known| *known as u8 == newcomers)
            .unwrap_or(Newcomers::Served)
    }

    /// What is checked of every handshake, before its token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        if matches!(self.newcomers(), Newcomers::TurnedAway | Newcomers::Held) {
            return Err(Rejection::DRAINING);
        }
        if !self.gate.admits(headers) {
            return Err(Rejection::ORIGIN);
        }
        Ok(())
    }

    /// Whether pages of this origin may connect.
    pub fn admits_origin(&self, headers: &HeaderMap) -> bool {
        self.gate.admits(headers)
    }

    /// The address of the client, through trusted proxies.
    fn client(&self, peer: Option<&PeerAddress>, headers: &HeaderMap) -> Option<IpAddr> {
        peer.map(|PeerAddress(peer)| self.gate.proxies.client(peer.ip(), headers))
    }

    /// Answers a handshake with what `upgrade` makes of it for the client at this address. A refusal is counted
    /// and logged.
    pub fn handshake(
        &self,
        mut request: Request<Body>,
        upgrade: impl FnOnce(&mut Request<Body>, Option<IpAddr>) -> Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        let client = self.client(request.extensions().get::<PeerAddress>(), request.headers());
        let answer = if !asks_for_upgrade(&request) {
            Err(Rejection::UPGRADE_REQUIRED)
        } else if request.version() < Version::HTTP_11 {
            Err(Rejection::HTTP_VERSION)
        } else if usize::try_from(self.metrics.connections.get()).is_ok_and(|open| open >= self.descriptors) {
            Err(Rejection::NO_DESCRIPTORS)
        } else {
            upgrade(&mut request, client)
        };
        answer.unwrap_or_else(|rejection| {
            self.refused(&rejection, client);
            rejection.response()
        })
    }

    /// Counts a connection that was accepted.
    pub fn opened(&self) {
        self.metrics.connections.inc();
        self.metrics.connections_opened.inc();
    }

    /// Counts a connection that is held back; whoever knows its client logs it.
    pub fn throttled(&self) {
        self.metrics.connections_throttled.inc();
    }

    /// Counts and logs a refused handshake.
    fn refused(&self, rejection: &Rejection, client: Option<IpAddr>) {
        self.metrics.handshakes_refused.get_or_create(&Reason::new(rejection.code)).inc();
        tracing::info!(
            reason = rejection.code,
            detail = &*rejection.message,
            status = rejection.status.as_u16(),
            ip = client.map(tracing::field::display),
            "handshake refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let admits = |origins: &[&str], origin: Option<&str>| {
            let origins: Vec<String> = origins.iter().map(|&origin| origin.into()).collect();
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            OriginPolicy::new(&origins, TrustedProxies::default()).admits(&headers)
        };
        let listed = ["https://App.example.com", "https://*.test.example.com"];
        assert!(admits(&listed, Some("https://app.example.com")));
        assert!(admits(&listed, Some("https://a.b.test.example.com")));
        assert!(admits(&listed, None));
        for other in ["http://app.example.com", "https://evil.example.com", "null", "é"] {
            assert!(!admits(&listed, Some(other)), "{other}");
        }
        assert!(admits(&[], Some("https://any.example.com")));
        assert!(!admits(&["*"], Some("https://any.example.com")), "a fault in the list opens nothing");
    }
}
