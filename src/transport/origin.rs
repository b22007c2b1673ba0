//! Which web origins may connect.

use axum::http::{HeaderMap, header};
use thiserror::Error;

/// An entry of `origins`: one origin, or those of all subdomains of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// Scheme, host and optional port, or `null`.
    One(Box<str>),
    /// `https://*.example.com`: any number of labels, one at least, in place of the `*`.
    Subdomains {
        /// With `://`.
        scheme: Box<str>,
        /// From the dot behind the `*` on, the port included.
        rest: Box<str>,
    },
}

/// An entry of `origins` that no browser could send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidOrigin {
    /// `*` alone.
    #[error("leave the list empty to allow any")]
    Any,
    /// A `*` that is not all of the first label of a host.
    #[error("a * stands before a whole host name and for subdomains only, as \"https://*.example.com\"")]
    Wildcard,
    /// Anything else.
    #[error(
        "write scheme, host and port only, as \"https://app.example.com\", or \"https://*.example.com\" for all subdomains"
    )]
    Form,
}

impl OriginPattern {
    /// Reads an entry. What a browser may send as `Origin` is in RFC 6454, section 6.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        match text {
            "null" => return Ok(Self::One(text.into())),
            "*" => return Err(InvalidOrigin::Any),
            _ => {}
        }
        let (scheme, host) = text.split_once("://").ok_or(InvalidOrigin::Form)?;
        let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let is_wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@');
        if !scheme_is_good || host.is_empty() || host.contains(is_wrong) {
            return Err(InvalidOrigin::Form);
        }
        if !host.contains('*') {
            return Ok(Self::One(text.into()));
        }
        let rest = host.strip_prefix('*').filter(|rest| !rest.contains(['*', '[']));
        let name = rest.and_then(|rest| rest.strip_prefix('.')?.split(':').next());
        if name.is_none_or(|name| name.split('.').any(str::is_empty)) {
            return Err(InvalidOrigin::Wildcard);
        }
        Ok(Self::Subdomains { scheme: format!("{scheme}://").into(), rest: rest.unwrap_or_default().into() })
    }

    /// Whether this is the origin, or one of them. Scheme and port are exact, letters are not.
    #[must_use]
    pub fn admits(&self, origin: &str) -> bool {
        match self {
            Self::One(allowed) => allowed.eq_ignore_ascii_case(origin),
            Self::Subdomains { scheme, rest } => subdomain(origin, scheme, rest).is_some_and(is_labels),
        }
    }
}

/// Which origins may connect.
#[derive(Debug, Clone, Default)]
pub struct OriginPolicy {
    /// `None`: any.
    allowed: Option<Vec<OriginPattern>>,
}

impl OriginPolicy {
    /// Takes a list of origins; an empty one allows any. An invalid entry allows nothing.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        let patterns = || origins.iter().filter_map(|origin| OriginPattern::parse(origin).ok()).collect();
        Self { allowed: (!origins.is_empty()).then(patterns) }
    }

    /// Whether a request with these headers is allowed. One without `Origin` is: only browsers send it, and other
    /// clients could send any.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        allowed.iter().any(|pattern| pattern.admits(origin))
    }
}

/// What stands between the scheme and the rest.
fn subdomain<'a>(origin: &'a str, scheme: &str, rest: &str) -> Option<&'a str> {
    let (start, host) = origin.split_at_checked(scheme.len())?;
    let (labels, end) = host.split_at_checked(host.len().checked_sub(rest.len())?)?;
    (start.eq_ignore_ascii_case(scheme) && end.eq_ignore_ascii_case(rest)).then_some(labels)
}

/// Labels of a host name, as browsers write them.
fn is_labels(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(pattern: &str, origin: &str) -> bool {
        OriginPattern::parse(pattern).unwrap().admits(origin)
    }

    #[test]
    fn one_origin_is_itself() {
        assert!(admits("https://App.example.com", "https://app.example.com"));
        assert!(admits("null", "null"));
        for other in
            ["http://app.example.com", "https://app.example.com:8443", "https://evil.example.com", "null", ""]
        {
            assert!(!admits("https://app.example.com", other), "{other}");
        }
    }

    #[test]
    fn subdomains_are_of_any_depth_and_never_the_host_itself() {
        for origin in ["https://a.example.com", "https://a.b-c.example.com", "HTTPS://A_1.EXAMPLE.COM"] {
            assert!(admits("https://*.Example.com", origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://a..example.com",
            "https://evilexample.com",
            "https://example.com.evil.com",
            "https://a.example.com.evil.com",
            "https://evil.com/.example.com",
            "https://evil.com:80.example.com",
            "https://evil.com@a.example.com",
            "https://evil.com#.example.com",
            "https://山.example.com",
            "http://a.example.com",
            "wss://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.",
            "null",
            "",
        ] {
            assert!(!admits("https://*.example.com", origin), "{origin}");
        }
        assert!(admits("http://*.localhost:5173", "http://app.localhost:5173"));
        for origin in ["http://app.localhost", "http://app.localhost:51730", "http://localhost:5173"] {
            assert!(!admits("http://*.localhost:5173", origin), "{origin}");
        }
    }

    #[test]
    fn an_invalid_origin_is_rejected() {
        for (text, error) in [
            ("*", InvalidOrigin::Any),
            ("", InvalidOrigin::Form),
            ("app.example.com", InvalidOrigin::Form),
            ("*.example.com", InvalidOrigin::Form),
            ("https://", InvalidOrigin::Form),
            ("https://a/", InvalidOrigin::Form),
            ("https://*.example.com/", InvalidOrigin::Form),
            ("*://app.example.com", InvalidOrigin::Form),
            ("https://*", InvalidOrigin::Wildcard),
            ("https://*.", InvalidOrigin::Wildcard),
            ("https://*:8443", InvalidOrigin::Wildcard),
            ("https://*.:8443", InvalidOrigin::Wildcard),
            ("https://*..com", InvalidOrigin::Wildcard),
            ("https://*.example.com.", InvalidOrigin::Wildcard),
            ("https://*example.com", InvalidOrigin::Wildcard),
            ("https://app.*.com", InvalidOrigin::Wildcard),
            ("https://*.*.com", InvalidOrigin::Wildcard),
            ("https://*.example.com:*", InvalidOrigin::Wildcard),
            ("https://*.[::1]", InvalidOrigin::Wildcard),
        ] {
            assert_eq!(OriginPattern::parse(text), Err(error), "{text}");
        }
        for text in ["capacitor://localhost", "http://[::1]:3000", "https://a.example:8443"] {
            assert!(OriginPattern::parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_what_ends_in_the_host_is_admitted(origin in "(https://)?[a-z.:/@#*山]{0,12}(\\.example\\.com)?") {
            if admits("https://*.example.com", &origin) {
                let host = origin.strip_prefix("https://").unwrap();
                prop_assert!(host.ends_with(".example.com") && !host.contains([':', '/', '@', '#', '*']));
            }
        }
    }

    #[test]
    fn a_policy_allows_what_it_lists_and_requests_without_an_origin() {
        let admits = |origins: &[&str], origin: Option<&str>| {
            let origins: Vec<String> = origins.iter().map(|&origin| origin.into()).collect();
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            OriginPolicy::new(&origins).admits(&headers)
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
