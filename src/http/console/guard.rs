use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::answer::Failure;

/// Refuses what a web page elsewhere could have caused.
///
/// A page of another site can reach this machine's loopback address in two ways. With a name of its own that
/// resolves to 127.0.0.1 (DNS rebinding) it would count as same-origin, but its `Host` is that name. With a
/// cross-site POST it could not read the answer, but could publish: its `Origin` gives it away, and a form
/// cannot send `application/json`.
pub(super) async fn same_machine(request: Request, next: Next) -> Response {
    match check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(host) = only(headers, &header::HOST) else {
        return Err(Failure::forbidden("the request must name one host"));
    };
    if !is_loopback(host) {
        return Err(Failure::forbidden("the console answers only on localhost, 127.0.0.1 and [::1]"));
    }
    if method != Method::POST {
        return Ok(());
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = only(headers, &header::ORIGIN);
        let authority = origin
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            return Err(Failure::forbidden("the request comes from another origin"));
        }
    }
    let json = only(headers, &header::CONTENT_TYPE).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    if json { Ok(()) } else { Err(Failure::forbidden("the content type must be application/json")) }
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(_) => match host.split_once(']') {
            Some((name, "")) => (name, None),
            Some((name, rest)) => match rest.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let name_is = name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1";
    name_is && port.is_none_or(|port| port.parse::<u16>().is_ok())
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
