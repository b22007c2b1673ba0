//! Where the requests of a webhook, a gate or the exporter of traces go.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Uri};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// The parts that all requests of a webhook share.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// The URL without credentials.
    pub url: Uri,
    /// The headers from the settings and the Basic authorization. All values are marked as sensitive.
    pub headers: HeaderMap,
}

/// Why the settings of a webhook are invalid. The messages quote no value, because any value can be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidWebhook {
    /// Not a URL, another scheme than `http` and `https`, or no host.
    #[error("the url is not one of http or https; write it as \"https://app.example.com/webhook\"")]
    Url,
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    #[error("the value of the header {0:?} has characters that a header cannot have")]
    HeaderValue(String),
    #[error("the header {0:?} is set by the server and cannot be changed")]
    ReservedHeader(String),
    /// Both the URL and `headers` set `Authorization`.
    #[error("has both user:password@ in the url and an Authorization header; remove one of them")]
    TwoAuthorizations,
}

const RESERVED: [HeaderName; 8] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    TRANSFER_ENCODING,
    HeaderName::from_static("x-pusher-key"),
    HeaderName::from_static("x-pusher-signature"),
    HeaderName::from_static("yamabiko-timestamp"),
    HeaderName::from_static("yamabiko-signature"),
];

impl WebhookTarget {
    /// Parses a URL and headers. `user:password@` before the host is sent as Basic authorization.
    pub fn new(url: &str, more: &BTreeMap<String, SecretString>) -> Result<Self, InvalidWebhook> {
        let (url, login) = split_login(url).ok_or(InvalidWebhook::Url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in more {
            let header = name.parse().map_err(|_| InvalidWebhook::HeaderName(name.clone()))?;
            if RESERVED.contains(&header) {
                return Err(InvalidWebhook::ReservedHeader(name.clone()));
            }
            let value = sensitive(value.expose_secret());
            headers.insert(header, value.ok_or_else(|| InvalidWebhook::HeaderValue(name.clone()))?);
        }
        if let Some(login) = login {
            // RFC 7617. The password may be empty. Percent-encoding can hold bytes that are not UTF-8.
            let login: Vec<u8> = percent_decode_str(&login).collect();
            let basic = sensitive(&format!("Basic {}", BASE64_STANDARD.encode(login)));
            if headers.insert(AUTHORIZATION, basic.ok_or(InvalidWebhook::Url)?).is_some() {
                return Err(InvalidWebhook::TwoAuthorizations);
            }
        }
        Ok(Self { url, headers })
    }
}

/// Splits `user:password` off a URL.
fn split_login(url: &str) -> Option<(Uri, Option<String>)> {
    let mut parts = url.parse::<Uri>().ok()?.into_parts();
    let is_http = parts.scheme.as_ref().is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https"));
    let authority = parts.authority.clone().filter(|authority| is_http && !authority.host().is_empty())?;
    let login = authority.as_str().rsplit_once('@').map(|(login, host)| {
        let login = if login.contains(':') { login.to_owned() } else { format!("{login}:") };
        (login, host.parse::<Authority>())
    });
    let login = match login {
        None => None,
        Some((login, host)) => {
            parts.authority = Some(host.ok()?);
            Some(login)
        }
    };
    Some((Uri::from_parts(parts).ok()?, login))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, headers: &[(&str, &str)]) -> Result<WebhookTarget, InvalidWebhook> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        WebhookTarget::new(url, &headers)
    }

    #[test]
    fn a_login_in_the_url_becomes_a_header() {
        for (url, rest, login) in [
            ("https://app.example.com/hook?a=b", "https://app.example.com/hook?a=b", None),
            ("http://aoi:s3cret@app:8000/hook", "http://app:8000/hook", Some("aoi:s3cret")),
            ("http://aoi:p%40ss%3A%2F@app/", "http://app/", Some("aoi:p@ss:/")),
            ("http://aoi@app/", "http://app/", Some("aoi:")),
            ("http://aoi:@[::1]:80/", "http://[::1]:80/", Some("aoi:")),
        ] {
            let parsed = target(url, &[]).unwrap();
            assert_eq!(parsed.url.to_string(), rest);
            let expected = login.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
            assert_eq!(
                parsed.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()),
                expected
            );
            assert!(!format!("{parsed:?}").contains("Basic"));
        }
    }

    #[test]
    fn headers_are_checked() {
        let parsed = target("http://app/", &[("X-Tenant", "7"), ("Authorization", "Bearer x")]).unwrap();
        assert_eq!(
            (&parsed.headers["x-tenant"], &parsed.headers["authorization"]),
            (&"7".parse().unwrap(), &"Bearer x".parse().unwrap())
        );
        let error = |url: &str, name: &str, value: &str| {
            let error = target(url, &[(name, value)]).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
            error
        };
        assert_eq!(error("http://app/", "no name", "s3cret"), InvalidWebhook::HeaderName("no name".into()));
        assert_eq!(error("http://app/", "x", "s3cret\n"), InvalidWebhook::HeaderValue("x".into()));
        for name in ["X-Pusher-Signature", "Yamabiko-Signature", "x-pusher-key", "content-type", "HOST"] {
            assert_eq!(error("http://app/", name, "s3cret"), InvalidWebhook::ReservedHeader(name.into()));
        }
        assert_eq!(error("http://a:s3cret@app/", "authorization", "x"), InvalidWebhook::TwoAuthorizations);
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for url in
            ["", "app.example.com", "https:///x", "ftp://app/", "http://a:b@/", "http://app/ x", "/hook"]
        {
            assert_eq!(target(url, &[]).unwrap_err(), InvalidWebhook::Url, "{url}");
        }
    }
}
