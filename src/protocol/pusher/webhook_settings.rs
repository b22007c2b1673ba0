use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Uri};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use thiserror::Error;

use crate::message::ChannelName;

/// An entry of `[[pusher.webhooks]]` or `[[apps.webhooks]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The URL of the POST requests. `user:password@` before the host is sent as Basic authorization.
    pub url: String,
    /// The kinds of events that the webhook receives. Empty: all.
    #[serde(default)]
    pub events: Vec<EventKind>,
    /// Additional headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// The channels whose events the webhook receives. Empty: all.
    #[serde(default)]
    pub filter: WebhookFilter,
}

/// Selects channels for a webhook. All conditions must hold; an empty condition always does. The keys are Soketi's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookFilter {
    #[serde(default)]
    pub channel_name_starts_with: String,
    #[serde(default)]
    pub channel_name_ends_with: String,
}

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

/// The kind of a webhook event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
    ClientEvent,
    CacheMiss,
    SubscriptionCount,
}

impl EventKind {
    /// The name on the wire and in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }
}

const RESERVED: [HeaderName; 6] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    TRANSFER_ENCODING,
    HeaderName::from_static("x-pusher-key"),
    HeaderName::from_static("x-pusher-signature"),
];

impl WebhookFilter {
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        name.starts_with(&self.channel_name_starts_with) && name.ends_with(&self.channel_name_ends_with)
    }
}

impl WebhookSettings {
    /// Parses the URL and the headers.
    pub fn target(&self) -> Result<WebhookTarget, InvalidWebhook> {
        let (url, login) = split_login(&self.url).ok_or(InvalidWebhook::Url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
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
        Ok(WebhookTarget { url, headers })
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

    fn settings(url: &str, headers: &[(&str, &str)]) -> WebhookSettings {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        WebhookSettings { url: url.to_owned(), headers, ..WebhookSettings::default() }
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
            let target = settings(url, &[]).target().unwrap();
            assert_eq!(target.url.to_string(), rest);
            let expected = login.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
            assert_eq!(
                target.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()),
                expected
            );
            assert!(!format!("{target:?}").contains("Basic"));
        }
    }

    #[test]
    fn headers_are_checked() {
        let target =
            settings("http://app/", &[("X-Tenant", "7"), ("Authorization", "Bearer x")]).target().unwrap();
        assert_eq!(
            (&target.headers["x-tenant"], &target.headers["authorization"]),
            (&"7".parse().unwrap(), &"Bearer x".parse().unwrap())
        );
        let error = |url: &str, name: &str, value: &str| {
            let error = settings(url, &[(name, value)]).target().unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
            error
        };
        assert_eq!(error("http://app/", "no name", "s3cret"), InvalidWebhook::HeaderName("no name".into()));
        assert_eq!(error("http://app/", "x", "s3cret\n"), InvalidWebhook::HeaderValue("x".into()));
        for name in ["X-Pusher-Signature", "x-pusher-key", "content-type", "HOST"] {
            assert_eq!(error("http://app/", name, "s3cret"), InvalidWebhook::ReservedHeader(name.into()));
        }
        assert_eq!(error("http://a:s3cret@app/", "authorization", "x"), InvalidWebhook::TwoAuthorizations);
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for url in
            ["", "app.example.com", "https:///x", "ftp://app/", "http://a:b@/", "http://app/ x", "/hook"]
        {
            assert_eq!(settings(url, &[]).target().unwrap_err(), InvalidWebhook::Url, "{url}");
        }
    }

    #[test]
    fn a_filter_matches_prefix_and_suffix() {
        let filter: WebhookFilter =
            serde_json::from_str(r#"{"channel_name_starts_with":"private-","channel_name_ends_with":".1"}"#)
                .unwrap();
        let matches = |filter: &WebhookFilter, name: &str| filter.matches(&ChannelName::new(name).unwrap());
        assert!(matches(&filter, "private-Chat.1"));
        assert!(!matches(&filter, "private-Chat.2") && !matches(&filter, "presence-Chat.1"));
        assert!(matches(&WebhookFilter::default(), "anything"));
        assert!(serde_json::from_str::<WebhookFilter>(r#"{"starts_with":"x"}"#).is_err());
    }
}
