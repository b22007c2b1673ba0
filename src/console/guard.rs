use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::transport::{ApiError, Host, check_origin, single_header};

/// Rejects requests to the console unless they use a loopback name; POST requests must be JSON from its own pages.
pub(super) async fn same_machine(request: Request, next: Next) -> Response {
    match check_console(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check_console(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = single_header(headers, &header::HOST) else {
        return Err(ApiError::forbidden("the request must name one host"));
    };
    if !is_loopback(host) {
        return Err(ApiError::forbidden("the console answers only on localhost, 127.0.0.1 and [::1]"));
    }
    if method != Method::POST {
        return Ok(());
    }
    check_origin(headers, host)?;
    let json = single_header(headers, &header::CONTENT_TYPE).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    if json { Ok(()) } else { Err(ApiError::forbidden("the content type must be application/json")) }
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Some(Host::Name(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Address(IpAddr::V4(address))) => address.octets() == [127, 0, 0, 1],
        Some(Host::Address(IpAddr::V6(address))) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
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
}
