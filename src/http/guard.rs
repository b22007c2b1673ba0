//! Tells requests that a page of another site brought about from those that are meant.
//!
//! A page can reach the loopback address, and every other address that its visitor reaches, in two ways. With a name of
//! its own that resolves to that address (DNS rebinding) it would count as same-origin, but its `Host` is that name. With
//! a cross-site POST it could not read the answer, but could act: its `Origin` gives it away, and a form cannot send
//! `application/json`.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Failure;

/// Guards the console: it answers on loopback names only, and only JSON of its own pages may be posted.
pub(super) async fn same_machine(request: Request, next: Next) -> Response {
    match check_console(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// The hosts under which the operators' port answers.
#[derive(Debug, Clone)]
pub struct AdminHosts {
    /// Whether it can be reached from elsewhere, so that any address may be its own.
    any_address: bool,
    names: Arc<[String]>,
}

impl AdminHosts {
    /// Loopback names, what `admin.hosts` lists, and unless `address`, where it listens, is a loopback address, any
    /// IP address: no page can take one for a name of its own.
    #[must_use]
    pub fn new(address: IpAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self { any_address: !address.to_canonical().is_loopback(), names }
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

/// Guards the operators' port.
pub(super) async fn operators(State(hosts): State<AdminHosts>, request: Request, next: Next) -> Response {
    match check_operators(&hosts, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => {
            let header =
                |name| request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            tracing::info!(
                path = request.uri().path(),
                host = header(header::HOST).as_deref(),
                origin = header(header::ORIGIN).as_deref(),
                "refused on the operators' port: the host is not in admin.hosts, or a page of another site asks"
            );
            failure.into_response()
        }
    }
}

fn check_operators(hosts: &AdminHosts, headers: &HeaderMap) -> Result<(), Failure> {
    // Every browser names a host. Probes that speak HTTP/1.0 may not.
    if !headers.contains_key(header::HOST) && !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let host = only(headers, &header::HOST).ok_or(Failure::forbidden("the request must name one host"))?;
    if !hosts.includes(host) {
        return Err(Failure::forbidden("this port does not answer under that host; see admin.hosts"));
    }
    check_origin(headers, host)
}

fn check_console(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(host) = only(headers, &header::HOST) else {
        return Err(Failure::forbidden("the request must name one host"));
    };
    if !is_loopback(host) {
        return Err(Failure::forbidden("the console answers only on localhost, 127.0.0.1 and [::1]"));
    }
    if method != Method::POST {
        return Ok(());
    }
    check_origin(headers, host)?;
    let json = only(headers, &header::CONTENT_TYPE).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    if json { Ok(()) } else { Err(Failure::forbidden("the content type must be application/json")) }
}

/// A page that asks must be one of this host itself.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Failure> {
    if headers.contains_key(header::ORIGIN) {
        let origin = only(headers, &header::ORIGIN);
        let authority = origin
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            return Err(Failure::forbidden("the request comes from another origin"));
        }
    }
    Ok(())
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Some(Host::Name(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Address(IpAddr::V4(address))) => address.octets() == [127, 0, 0, 1],
        Some(Host::Address(IpAddr::V6(address))) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// What a `Host` header names, without its port.
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    fn parse(host: &'a str) -> Option<Self> {
        if let Some(rest) = host.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            if !rest.is_empty() {
                is_port(rest.strip_prefix(':')?)?;
            }
            return Some(Self::Address(IpAddr::V6(address.parse().ok()?)));
        }
        let name = match host.split_once(':') {
            Some((name, port)) => {
                is_port(port)?;
                name
            }
            None => host,
        };
        Some(name.parse().map_or(Self::Name(name), |address| Self::Address(IpAddr::V4(address))))
    }
}

fn is_port(port: &str) -> Option<()> {
    port.parse::<u16>().ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_names_are_hosts() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "localhost:8080.example.com",
            "127.0.0.1.nip.io:8080",
            "127.0.0.2",
            "10.0.0.1:8080",
            "::1",
            "[::1",
            "[::1]8080",
            "[::1].example.com",
            "[::2]:80",
            "localhost:",
            "a@localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_operators_port_answers_under_addresses_and_the_names_it_was_given() {
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
