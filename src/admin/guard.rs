use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::transport::{ApiError, Host, check_origin, single_header};

/// The hosts under which the admin port responds.
#[derive(Debug, Clone)]
pub struct AdminHosts {
    /// Any IP address, because the port is reachable from other machines.
    any_address: bool,
    names: Arc<[String]>,
}

impl AdminHosts {
    /// Loopback names and the names in `admin.hosts`; also any IP address, unless `address`, on which the port listens, is a
    /// loopback address. An IP address is safe, because DNS rebinding needs a name.
    #[must_use]
    pub fn new(address: IpAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self { any_address: !address.to_canonical().is_loopback(), names }
    }

    /// Rejects and logs a request to the operators' port that a page of another site has made.
    pub fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        check_operators(self, headers).inspect_err(|_| {
            let header = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            tracing::info!(
                path,
                host = header(header::HOST).as_deref(),
                origin = header(header::ORIGIN).as_deref(),
                "rejected on the admin port: the host is not in admin.hosts, or the request comes from another site"
            );
        })
    }

    fn includes(&self, host: &str) -> bool {
        let Some(host) = Host::parse(host) else { return false };
        match host {
            Host::Address(address) => self.any_address || address.to_canonical().is_loopback(),
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                name == "localhost" || self.names.contains(&name)
            }
        }
    }
}

/// Rejects requests to the admin port that a page of another site has made.
pub(super) async fn operators(State(hosts): State<AdminHosts>, request: Request, next: Next) -> Response {
    match hosts.check(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check_operators(hosts: &AdminHosts, headers: &HeaderMap) -> Result<(), ApiError> {
    // Browsers always send a host. HTTP/1.0 probes may not.
    if !headers.contains_key(header::HOST) && !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let host =
        single_header(headers, &header::HOST).ok_or(ApiError::forbidden("the request must name one host"))?;
    if !hosts.includes(host) {
        return Err(ApiError::forbidden("this port does not answer under that host; see admin.hosts"));
    }
    check_origin(headers, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_port_responds_under_ip_addresses_and_configured_names() {
        let names = ["Yamabiko".to_owned(), "node-1.example.com.".to_owned()];
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let local = AdminHosts::new(address("127.0.0.1"), &names);
        let everywhere = AdminHosts::new(address("0.0.0.0"), &names);
        for hosts in [&local, &everywhere] {
            for host in [
                "localhost",
                "localhost:8081",
                "127.0.0.1:8081",
                "127.0.0.2",
                "[::1]:8081",
                "yamabiko:8081",
                "YAMABIKO",
                "node-1.example.com",
                "node-1.example.com.:8081",
            ] {
                assert!(hosts.includes(host), "{host}");
            }
            for host in [
                "",
                "evil.example",
                "yamabiko.evil.example",
                "localhost.evil.example",
                "127.0.0.1.nip.io:8081",
                "10.0.0.1.evil.example",
                "a@localhost",
                "yamabiko:",
                "[::1",
                "::1",
                "0x7f000001",
            ] {
                assert!(!hosts.includes(host), "{host}");
            }
        }
        for host in ["10.0.0.1:8081", "203.0.113.9", "[fd00::7]:8081"] {
            assert!(everywhere.includes(host) && !local.includes(host), "{host}");
        }
        let v6 = AdminHosts::new(address("::"), &[]);
        assert!(v6.includes("10.0.0.1") && !v6.includes("yamabiko"));
        assert!(!AdminHosts::new(address("::1"), &[]).includes("10.0.0.1"));
    }
}
