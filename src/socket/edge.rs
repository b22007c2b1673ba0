use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, Version, header};
use thiserror::Error;

use super::admission::Admission;
use super::handshake::asks_for_upgrade;
use super::{Heartbeat, Limits, PeerAddress, Rejection, SessionOptions, TrustedProxies};
use crate::hub::Hub;
use crate::telemetry::{Metrics, Reason};

/// What every WebSocket endpoint of a server shares.
#[derive(Debug)]
pub struct Edge {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// How many may be.
    pub admission: Arc<Admission>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    pub(super) options: Arc<SessionOptions>,
    gate: Gate,
    /// How many connections the process has file descriptors for.
    descriptors: usize,
    draining: AtomicBool,
}

/// Who may knock: origins and proxies.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    origins: Vec<String>,
    proxies: TrustedProxies,
}

/// An entry of `server.origins` that no browser sends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is no web origin; write it as \"https://app.example.com\"")]
pub struct InvalidOrigin(String);

impl Gate {
    /// Takes the origins that may connect (none: any) and the proxies that are believed.
    #[must_use]
    pub fn new(origins: &[String], proxies: TrustedProxies) -> Self {
        Self { origins: origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(), proxies }
    }

    /// Checks the form of an origin: a scheme, a host, perhaps a port, and nothing after them.
    pub fn check_origin(origin: &str) -> Result<(), InvalidOrigin> {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if host.is_empty() || host.contains(['/', '?', '#', ' ', '*']) {
            return Err(InvalidOrigin(origin.to_owned()));
        }
        Ok(())
    }

    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        if self.origins.is_empty() {
            return true;
        }
        // Only browsers send it, and for them it is honest. Other clients prove who they are with the token.
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

impl Edge {
    /// Puts the edge before the hub.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        gate: Gate,
        limits: &Limits,
        heartbeat: &Heartbeat,
        descriptors: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            admission,
            metrics,
            options: Arc::new(SessionOptions::new(limits, heartbeat)),
            gate,
            descriptors,
            draining: AtomicBool::new(false),
        })
    }

    /// From now on every handshake is refused.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What is checked of every handshake, before its token.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        if self.is_draining() {
            return Err(Rejection::DRAINING);
        }
        if !self.gate.admits(headers) {
            return Err(Rejection::ORIGIN);
        }
        Ok(())
    }

    /// Whether pages of this origin may connect.
    pub(super) fn admits_origin(&self, headers: &HeaderMap) -> bool {
        self.gate.admits(headers)
    }

    /// The address of the client, through trusted proxies.
    fn client(&self, peer: Option<&PeerAddress>, headers: &HeaderMap) -> Option<IpAddr> {
        peer.map(|PeerAddress(peer)| self.gate.proxies.client(peer.ip(), headers))
    }

    /// Answers a handshake with what `upgrade` makes of it for the client at this address. A refusal is counted
    /// and logged.
    pub(super) fn handshake(
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
    pub(super) fn opened(&self) {
        self.metrics.connections.inc();
        self.metrics.connections_opened.inc();
    }

    /// Counts a connection that is held back; whoever knows its client logs it.
    pub(super) fn throttled(&self) {
        self.metrics.connections_throttled.inc();
    }

    /// Counts and logs a refused handshake.
    fn refused(&self, rejection: &Rejection, client: Option<IpAddr>) {
        self.metrics.handshakes_refused.get_or_create(&Reason::new(rejection.code)).inc();
        tracing::info!(
            reason = rejection.code,
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
        let gate = Gate::new(&["https://App.example.com".into()], TrustedProxies::default());
        let admits = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            gate.admits(&headers)
        };
        assert!(admits(Some("https://app.example.com")));
        assert!(admits(None));
        for other in
            ["http://app.example.com", "https://app.example.com:8443", "https://evil.example.com", "null"]
        {
            assert!(!admits(Some(other)), "{other}");
        }
        assert!(Gate::check_origin("http://localhost:3000").is_ok());
        for wrong in ["app.example.com", "https://", "https://a/", "https://*.example.com", ""] {
            assert!(Gate::check_origin(wrong).is_err(), "{wrong}");
        }
    }
}
