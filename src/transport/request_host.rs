//! Tells requests of this host's own pages, and of programs, from those that another site's page makes in a visitor's
//! browser.
//!
//! A page can reach the loopback address, and any other address that its visitor can reach, in two ways. With DNS rebinding, a
//! host name of the page's site resolves to that address and the request counts as same-origin, but its `Host` header carries that name. With
//! a cross-site POST the page cannot read the response but can cause an effect: its `Origin` header gives it away, and an HTML form
//! cannot send `application/json`.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

use super::ApiError;

/// The value of a `Host` header, without its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// An IP address.
    Address(IpAddr),
    /// A host name.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads the value of a `Host` header.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
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

/// Requires a request with an `Origin` to come from a page of this host.
pub fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        let origin = single_header(headers, &header::ORIGIN);
        let authority = origin
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            return Err(ApiError::forbidden("the request comes from another origin"));
        }
    }
    Ok(())
}

/// The value of a header that occurs exactly once.
pub fn single_header<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_port(port: &str) -> Option<()> {
    port.parse::<u16>().ok().map(drop)
}
