use std::net::IpAddr;

use hyper::Uri;

use super::{KeyProblem, Settings};

/// The address of a JSON Web Key Set, if the settings have one.
pub(super) fn jwks_url(settings: &Settings) -> Result<Option<Uri>, KeyProblem> {
    let text = settings.jwks_url.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let problem = |message: &str| KeyProblem { key: "auth.jwks_url".to_owned(), message: message.to_owned() };
    let url: Uri = text.parse().map_err(|_| problem("is not a URL"))?;
    let host = url.host().ok_or_else(|| problem("is not a URL with a scheme and a host"))?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(problem("must not have a user or a password"));
    }
    match url.scheme_str() {
        Some("https") => Ok(Some(url)),
        Some("http") if is_loopback(host) => Ok(Some(url)),
        _ => Err(problem(
            "must be https, or http on a loopback address: whoever can change the keys can sign tokens",
        )),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}
